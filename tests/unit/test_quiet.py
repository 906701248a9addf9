"""When whoever waits for a job is told that nothing happens."""

import pytest

from voxqueue.client.answers import Job
from voxqueue.client.errors import ClientError, ServerUnreachable
from voxqueue.client.quiet import Quiet

pytestmark = pytest.mark.unit


def test_silence_is_told_of_ever_less_often_and_news_begin_it_anew() -> None:
    """Else a terminal says nothing while Redis is away, or fills while a long job runs."""
    now = 0.0
    told: list[tuple[float, ClientError | None]] = []

    def tell(seconds: float, job: Job | None, error: ClientError | None) -> None:
        told.append((seconds, error))

    quiet = Quiet(tell, clock=lambda: now)
    away = ServerUnreachable("Nobody answers.")
    for second in range(1, 60):
        now = float(second)
        quiet.still(None, away if second > 30 else None)
    assert told == [(10.0, None), (20.0, None), (40.0, away)]
    quiet.news()
    for second in range(60, 75):
        now = float(second)
        quiet.still(None, None)
    assert told[3:] == [(10.0, None)]
