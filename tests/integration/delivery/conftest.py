"""An office that closes with the test."""

from collections.abc import Iterator

import pytest

from tests.integration.delivery.office import Office
from voxqueue.database.session import Sessions


@pytest.fixture
def office(sessions: Sessions) -> Iterator[Office]:
    one = Office(sessions)
    yield one
    one.close()
