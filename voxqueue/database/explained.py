"""What somebody who starts us is told of a database that we cannot use: which one it is, and what it has answered."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import OperationalError

from voxqueue.database.session import database_errors
from voxqueue.errors import DatabaseUnavailable
from voxqueue.urls import for_psql, without_password


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn a database that does not let us in into words with its address and its own reason.

    Args:
        url: As `DatabaseSettings.require_url` gives it. No password of it is shown.

    Raises:
        DatabaseUnavailable: It does not answer, knows no such user, password or database, or lacks our schema.
    """
    try:
        with database_errors():
            yield
    except DatabaseUnavailable as error:
        if not isinstance(error.__cause__, OperationalError):
            raise
        said = str(error.__cause__.orig).strip().partition("\n")[0]
        reason = said.removeprefix("connection failed: ").removesuffix(".")
        address = without_password(for_psql(url))
        raise DatabaseUnavailable(
            f"The database {address} cannot be used: {reason}. VOXQUEUE_DATABASE_URL says which one it is."
        ) from error
