"""Addresses of servers, as messages may show them."""

import re


def without_login(url: str) -> str:
    """The address without a user's name and password."""
    return re.sub("(?<=//)[^/]*@", "", url)
