"""Lets those take turns who each want a whole processor, so that none slows down another's batch.

The fullest batch goes first: what waits gathers meanwhile, and few large batches cost less than many small ones. This
room knows neither engines nor requests.
"""

import threading
import time
from collections.abc import Callable

_PATIENCE = 3
_SETTLING = 0.02  # of the turn before: what it has brought is on its way to whoever comes next, and would come too late
_LOOK_S = 0.05


class Turn:
    """One party's place among those that take turns.

    Args:
        turns: All of them.
        fullness: How full the party's next batch would be, from 0 for nothing to 1, asked at any time.
    """

    def __init__(self, turns: "Turns", fullness: Callable[[], float]) -> None:
        self._turns = turns
        self.fullness = fullness
        self.passed_over = 0

    def take(self) -> bool:
        """Wait for this party's turn. False, without having it, once there is nothing more to do in it."""
        return self._turns.give_to(self)

    def give_back(self) -> None:
        self._turns.take_back()

    def leave(self) -> None:
        """Take part no more; a turn that is taken already may still be given back."""
        self._turns.leave(self)

    @property
    def is_held_up(self) -> bool:
        """Whether somebody else has the turn now."""
        return self._turns.taken_by not in (None, self)


class Turns:
    """Who may go next. However full the batches of others are, nobody is passed over more than a few times."""

    def __init__(self) -> None:
        self.taken_by: Turn | None = None
        self._parties: list[Turn] = []
        self._began_at = self._settled_at = 0.0
        self._changed = threading.Condition()

    def join(self, fullness: Callable[[], float]) -> Turn:
        """Take part from now on."""
        party = Turn(self, fullness)
        with self._changed:
            self._parties.append(party)
        return party

    def leave(self, party: Turn) -> None:
        """Take part no more. Whoever has left already may do so again."""
        with self._changed:
            self._parties = [other for other in self._parties if other is not party]

    def give_to(self, party: Turn) -> bool:
        with self._changed:
            while party.fullness() > 0:
                settling_s = 0.0 if party.fullness() >= 1 else self._settled_at - time.monotonic()
                if self.taken_by is None and self._next() is party and settling_s <= 0:
                    self._begin(party)
                    return True
                # What others have waiting changes without a word.
                self._changed.wait(min(_LOOK_S, settling_s) if settling_s > 0 else _LOOK_S)
            return False

    def take_back(self) -> None:
        with self._changed:
            now = time.monotonic()
            self.taken_by = None
            self._settled_at = now + _SETTLING * (now - self._began_at)
            self._changed.notify_all()

    def _next(self) -> Turn | None:
        """Who has something waiting and most right to go; that party need not be here yet, but is on its way."""
        waiting = [party for party in self._parties if party.fullness() > 0]
        return max(waiting, key=_right, default=None)

    def _begin(self, party: Turn) -> None:
        self.taken_by = party
        self._began_at = time.monotonic()
        for other in self._parties:
            other.passed_over = other.passed_over + 1 if other is not party and other.fullness() > 0 else 0


def _right(party: Turn) -> tuple[bool, float, int]:
    return party.passed_over >= _PATIENCE, min(1.0, party.fullness()), party.passed_over
