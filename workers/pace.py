"""How far a stage is on its way to being warm, and how long it will still take, held against how long that took before.

It knows phases, shares and times, no engines.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from voxqueue.fleet import Spread
from voxqueue.fleet.forecast import Expected

_BEGUN = 5  # percent
_LOADED = 40  # percent, where nothing is known of earlier starts
_DONE = 99  # percent: one more is for being ready
_SHARE_BY_TIME = 0.95  # of a phase, at most: only its end is its end


class _Phase(Enum):
    WAITING = 0
    LOADING = 1
    WARMING = 2
    OVER = 3


@dataclass(slots=True)
class _Leg:
    """One phase under way. `share` is how much of it is done, as far as that was told."""

    phase: _Phase
    began_at: float
    expected: Expected | None = None
    share: float = 0.0

    def percent(self, passed_s: float) -> float:
        """How far the whole is, as long as this lasts."""
        if self.phase not in (_Phase.LOADING, _Phase.WARMING):
            return 0.0
        begin, end = (_BEGUN, self._loaded()) if self.phase is _Phase.LOADING else (self._loaded(), _DONE)
        return begin + (end - begin) * max(self.share, min(_SHARE_BY_TIME, self._share_by_time(passed_s)))

    def _loaded(self) -> float:
        """Where loading ends and warming begins, in percent."""
        if self.expected is None:
            return _LOADED
        load, warmup = self.expected.load.p50, self.expected.warmup.p50
        return _BEGUN + (_DONE - _BEGUN) * load / (load + warmup) if load + warmup else _LOADED

    def _share_by_time(self, passed_s: float) -> float:
        if self.expected is None:
            return 0.0
        whole = self.expected.load if self.phase is _Phase.LOADING else self.expected.warmup
        return passed_s / whole.p50 if whole.p50 else 0.0


class Pace:
    """One stage's way. The progress never goes back, also not when another engine begins anew, until it was ready.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leg = _Leg(_Phase.WAITING, clock())
        self._furthest = 0
        self._lock = threading.RLock()

    def load(self, expected: Expected | None) -> None:
        """An engine begins to load."""
        self._begin(_Phase.LOADING, expected)

    def warm(self, expected: Expected | None) -> None:
        """It is loaded, and begins to warm up."""
        self._begin(_Phase.WARMING, expected)

    def reach(self, share: float) -> None:
        """So much of the phase is done, from 0 to 1."""
        with self._lock:
            self._leg.share = max(self._leg.share, share)

    def give_up(self) -> None:
        """No engine has got there; how far one has come is kept for the next try."""
        self._begin(_Phase.OVER)

    def arrive(self) -> None:
        """It is ready; whatever comes after that begins anew."""
        with self._lock:
            self._begin(_Phase.OVER)
            self._furthest = 0

    def progress(self) -> int:
        """In percent; 100 is not for this to say."""
        with self._lock:
            self._furthest = max(self._furthest, int(self._leg.percent(self._clock() - self._leg.began_at)))
            return self._furthest

    def eta(self, expected: Expected | None) -> Spread | None:
        """How long it will still take; None where earlier starts do not say, or have taken less time than this one.

        Args:
            expected: What it will take, for as long as it has not begun.
        """
        with self._lock:
            leg = self._leg
        if leg.phase is _Phase.WAITING:
            return expected.load + expected.warmup if expected else None
        if leg.phase is _Phase.OVER or leg.expected is None:
            return None
        passed_s = self._clock() - leg.began_at
        if leg.phase is _Phase.WARMING:
            return _left(leg.expected.warmup, passed_s)
        left = _left(leg.expected.load, passed_s)
        return None if left is None else left + leg.expected.warmup

    def _begin(self, phase: _Phase, expected: Expected | None = None) -> None:
        with self._lock:
            self.progress()
            self._leg = _Leg(phase, self._clock(), expected)


def _left(whole: Spread, passed_s: float) -> Spread | None:
    """What is left of it; None once it takes longer than nearly all did."""
    return None if passed_s > whole.p90 else Spread(p50=max(0.0, whole.p50 - passed_s), p90=whole.p90 - passed_s)
