"""``python -m tests.fault.hostile``: hostile requests by the thousands, and what came of them."""

import argparse
import sys

from tests.fault.hostile.running import run

_MOST = 60  # findings that are worth reading


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fault.hostile")
    parser.add_argument("--requests", type=int, default=10_000, help="how many are sent, all in all")
    arguments = parser.parse_args()
    outcomes = run(arguments.requests, say=lambda words: print(words[:600], flush=True))
    findings = [f"keys {keys}: {finding}" for keys, outcome in outcomes.items() for finding in outcome.findings]
    for finding in findings[:_MOST]:
        print(finding)
    for keys, outcome in outcomes.items():
        statuses = ", ".join(f"{number} x {status}" for status, number in sorted(outcome.statuses.items()))
        print(f"keys {keys}: {outcome.requests} requests: {statuses}")
        print(f"  slowest {outcome.slowest[0]:.1f} s ({outcome.slowest[1]}); memory grew by {outcome.grew_mb:.0f} MB")
    print(f"{sum(one.requests for one in outcomes.values())} requests, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
