"""Writes the table of faults and outcomes into a page, between two marker lines."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.fault.running import Outcome

_BEGIN, _END = "<!-- faults: begin -->", "<!-- faults: end -->"
_HEAD = (
    "| Fault | Point | Times | Jobs | Lost | Duplicated | Orphans | Recovery, s | Leases back, s |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def write(page: Path, outcomes: dict[str, Outcome], *, runs: int, seconds: float) -> None:
    """Put the table where the page has its marker lines."""
    text = page.read_text()
    before, rest = text.split(_BEGIN)
    after = rest.split(_END)[1]
    page.write_text(f"{before}{_BEGIN}\n{_table(outcomes, runs, seconds)}\n{_END}{after}")


def _table(outcomes: dict[str, Outcome], runs: int, seconds: float) -> str:
    rows = [_row(name, outcome) for name, outcome in outcomes.items()]
    every = list(outcomes.values())
    times, jobs = sum(one.times for one in every), sum(one.jobs for one in every)
    counts = [str(sum(one.count(word) for one in every)) for word in ("lost", "duplicated", "orphan")]
    longest, latest = max(one.recovery_s for one in every), max(one.returned_s for one in every)
    total = f"| **All** | | {times} | {jobs} | {' | '.join(counts)} | {longest:.1f} | {latest:.1f} |"
    machine = f"{os.cpu_count()} cores ({platform.machine()}) with {psutil.virtual_memory().total / 2**30:.0f} GiB"
    said = (
        f"`make fault RUNS={runs}` on {datetime.now(UTC):%d %B %Y}: {times} faults in {seconds / 60:.0f} minutes, "
        f"on {machine} and Python {platform.python_version()}."
    )
    return "\n".join([said, "", *_HEAD, *rows, total])


def _row(name: str, outcome: Outcome) -> str:
    what, _, point = name.partition(": ")
    counts = " | ".join(str(outcome.count(word)) for word in ("lost", "duplicated", "orphan"))
    returned = f"{outcome.returned_s:.1f}" if outcome.returned_s else ""
    return f"| {what} | {point} | {outcome.times} | {outcome.jobs} | {counts} | {outcome.recovery_s:.1f} | {returned} |"
