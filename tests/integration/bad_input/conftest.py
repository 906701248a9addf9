"""Whatever was refused, nothing is left of it."""

from collections.abc import Callable, Iterator

import pytest

from tests import recordings
from tests.integration.conftest import Left

NOTHING: Left = (0, 0, 0, [])


@pytest.fixture(autouse=True)
def nothing_is_left_behind(sessions: object, left: Callable[[], Left]) -> Iterator[None]:
    """No row and no blob, whatever was refused."""
    yield
    assert left() == NOTHING


@pytest.fixture(scope="module")
def note() -> bytes:
    return recordings.recording(recordings.tone(1), 16_000, "ogg")
