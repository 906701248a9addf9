"""``python -m tests.fault``: every fault several times, and the table of what came of it."""

import argparse
import sys
import time
import traceback
from pathlib import Path

from tests.fault import api_faults, server_faults, worker_faults  # noqa: F401 - they enter their faults
from tests.fault.catalogue import FAULTS, Fault
from tests.fault.report import write
from tests.fault.running import Outcome, inject
from tests.fault.servers import Layout
from tests.fault.world import world


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault")
    parser.add_argument("--runs", type=int, default=3, help="how often each fault is injected")
    parser.add_argument("--only", default="", help="faults whose name has this in it")
    parser.add_argument("--go-on", action="store_true", help="run the others when an invariant is broken")
    parser.add_argument("--report", type=Path, help="the page whose table is written")
    arguments = parser.parse_args()
    if arguments.report and not arguments.report.is_file():
        parser.error(f"there is no page {arguments.report}, in which the table could stand")
    chosen = [fault for fault in FAULTS if arguments.only in fault.name]
    if not chosen:
        parser.error(f"no fault has {arguments.only!r} in its name")
    outcomes = {fault.name: Outcome() for fault in chosen}
    began = time.monotonic()
    whole = True
    for layout in dict.fromkeys(fault.layout for fault in chosen):
        faults = [fault for fault in chosen if fault.layout == layout] * arguments.runs
        while faults and (whole or arguments.go_on):
            faults, is_whole = _run(layout, faults, outcomes)
            whole = whole and is_whole
    if arguments.report and whole and not arguments.only:
        write(arguments.report, outcomes, runs=arguments.runs, seconds=time.monotonic() - began)
    times = sum(outcome.times for outcome in outcomes.values())
    print(f"{times} faults injected, {sum(bool(one.findings) for one in outcomes.values())} of them broke something")
    return 0 if whole else 1


def _run(layout: Layout, faults: list[Fault], outcomes: dict[str, Outcome]) -> tuple[list[Fault], bool]:
    """Inject one after the other into one stack, until one breaks an invariant; returns those that are left."""
    with world(layout) as stack:
        for number, fault in enumerate(faults, start=1):
            outcome, began = outcomes[fault.name], time.monotonic()
            try:
                inject(stack, fault, outcome)
            except Exception:
                traceback.print_exc()
                outcome.findings = outcome.findings or ["it could not be run"]
                print(f"FAILED {fault.name}", flush=True)
                return faults[number:], False
            took = time.monotonic() - began
            words = f"recovery {outcome.recovery_s:.1f} s at most, {took:.1f} s in all"
            print(f"{number}/{len(faults)} {layout.name} {fault.name}: {outcome.jobs} jobs, {words}", flush=True)
    return [], True


if __name__ == "__main__":
    sys.exit(main())
