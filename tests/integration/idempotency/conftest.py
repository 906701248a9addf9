"""A recording to submit."""

import pytest

from tests.recordings import recording, tone


@pytest.fixture(scope="module")
def note() -> bytes:
    return recording(tone(1), 16_000, "ogg")
