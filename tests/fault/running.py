"""Runs one fault: break, wait until all has settled, check everything; and what came of it."""

import time
from dataclasses import dataclass, field

from tests.fault.book import LOAD
from tests.fault.catalogue import Fault
from tests.fault.checker import check
from tests.fault.world import World

_SETTLE_S = 75.0
_LOOK_S = 0.5


class InvariantBroken(AssertionError):
    """What the checker found, and the end of the stack's log."""


@dataclass(slots=True)
class Outcome:
    """One row of the table: how often a fault was injected, and what came of it.

    `recovery_s` is the longest, `returned_s` how long it took at most until the last lost lease was returned.
    """

    times: int = 0
    jobs: int = 0
    recovery_s: float = 0.0
    returned_s: float = 0.0
    findings: list[str] = field(default_factory=list)

    def count(self, word: str) -> int:
        return sum(finding.startswith(word) for finding in self.findings)


def inject(world: World, fault: Fault, outcome: Outcome) -> None:
    """Break one thing, and raise `InvariantBroken` if something does not hold in the end.

    The recovery is the time from the fault's end until every job has ended that was sent before. Then some more are
    sent, to see that all is as it was.
    """
    before = len(world.book.promises)
    fault.run(world)
    over = time.time()
    world.wait_until_whole()
    assert len(world.book.send_load()) == LOAD, "the stack is whole again and does not take jobs"
    findings = _settle(world)
    outcome.times += 1
    outcome.jobs += len(world.book.promises) - before
    ended, returned = _last(world, over)
    outcome.recovery_s = max(outcome.recovery_s, ended - over)
    outcome.returned_s = max(outcome.returned_s, returned - over)
    outcome.findings += findings
    if findings:
        raise InvariantBroken("\n".join([f"{fault.name}:", *findings, "", "The log's end:", world.log_tail()]))


def _settle(world: World) -> list[str]:
    """Check until nothing is found any more; else what is found in the end."""
    give_up = time.monotonic() + _SETTLE_S
    while (findings := check(world)) and time.monotonic() < give_up:
        time.sleep(_LOOK_S)
    return findings


def _last(world: World, over: float) -> tuple[float, float]:
    """When the last job ended of those that were sent before the fault was over, and when the last lease came back."""
    ends = "SELECT extract(epoch FROM max(finished_at)) FROM jobs WHERE created_at < to_timestamp(%s)"
    returns = "SELECT extract(epoch FROM max(at)) FROM fault.history WHERE lost"
    with world.points.connect() as database:
        [(ended,)] = database.execute(ends, (over,)).fetchall()
        [(returned,)] = database.execute(returns).fetchall()
    return float(ended or 0), float(returned or 0)
