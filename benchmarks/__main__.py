"""``python -m benchmarks [NAME ...]``: run benchmarks, print them, and keep the results as JSON."""

import argparse
import json
import sys

from benchmarks import (
    across_notes,
    batching,
    engine_memory,
    first_job,
    idle_latency,
    long_note,
    memory,
    orchestration,
    padding,
    preparation,
    soak,
    speech,
    watchers,
    webhook_latency,
)
from benchmarks.report import keep

BENCHMARKS = {
    "idle_latency": idle_latency,
    "batching": batching,
    "memory": memory,
    "webhook_latency": webhook_latency,
    "watchers": watchers,
    "first_job": first_job,
    "across_notes": across_notes,
    "padding": padding,
    "preparation": preparation,
    "speech": speech,
    "engine_memory": engine_memory,
    "long_note": long_note,
    "orchestration": orchestration,
}
BY_NAME_ONLY = {"soak": soak}  # too long to be run unasked


def main() -> int:
    known = {**BENCHMARKS, **BY_NAME_ONLY}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Benchmarks without downloads.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(known)}; by default all but {', '.join(BY_NAME_ONLY)}",
    )
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(known):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    missed = []
    for name in names:
        print(f"{name}: {(known[name].__doc__ or '').splitlines()[0]}", file=sys.stderr)
        result = known[name].measure()
        keep(name, result)
        print(json.dumps({name: result}, indent=2))
        if not result["reached"]:
            missed.append(name)
    if missed:
        print(f"Not reached here: {', '.join(missed)}. Is the machine busy?", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
