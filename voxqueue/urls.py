"""Addresses of servers, as messages may show them."""

import re

_PASSWORD = re.compile(r"(://[^/@:]*:).*(?=@)|([?&]password=)[^&]*")


def without_login(url: str) -> str:
    """The address without a user's name and password."""
    return re.sub("(?<=//)[^/]*@", "", url)


def without_password(url: str) -> str:
    """The address with stars for a password, wherever it stands."""
    return _PASSWORD.sub(r"\1\2***", url)


def for_psql(url: str) -> str:
    """A database's address as Postgres' own tools take it, which know nothing of our driver."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)
