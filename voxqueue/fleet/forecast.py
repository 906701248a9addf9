"""What earlier starts say of the next one: how long loading and warming up takes. Pure."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from voxqueue.fleet.reports import Spread

LEAST_STARTS = 3
"""Fewer than this say nothing."""


class Start(Protocol):
    """One earlier start of a stage. Times in milliseconds."""

    @property
    def load_ms(self) -> float: ...

    @property
    def warmup_ms(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Expected:
    """How long the two halves of a start take, in seconds."""

    load: Spread
    warmup: Spread


def expect(starts: Sequence[Start]) -> Expected | None:
    """What starts that were alike lead one to expect; None where they are too few to say."""
    if len(starts) < LEAST_STARTS:
        return None
    return Expected(
        load=_spread(start.load_ms / 1000 for start in starts),
        warmup=_spread(start.warmup_ms / 1000 for start in starts),
    )


def _spread(seconds: Iterable[float]) -> Spread:
    deciles = statistics.quantiles(seconds, n=10, method="inclusive")
    return Spread(p50=deciles[4], p90=deciles[8])
