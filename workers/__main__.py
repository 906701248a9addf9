"""``python -m workers``: what ``voxqueue worker`` and ``voxqueue courier`` become."""

import argparse
import sys

from voxqueue.errors import VoxqueueError
from voxqueue.stages import Stage
from workers.main import run_courier, run_worker


def main() -> int:
    parser = argparse.ArgumentParser(prog="workers")
    roles = parser.add_subparsers(dest="role", required=True)
    worker = roles.add_parser("worker", help="run stages")
    worker.add_argument("--stages", default=",".join(Stage), help="comma-separated: stt, llm, tts")
    worker.add_argument("--name", help="shown in Flower and in the fleet")
    courier = roles.add_parser("courier", help="do upkeep, and deliver webhooks")
    courier.add_argument("--name", help="shown in Flower and in the fleet")
    arguments = parser.parse_args()
    try:
        if arguments.role == "courier":
            return run_courier(arguments.name)
        return run_worker([Stage(name) for name in dict.fromkeys(arguments.stages.split(","))], arguments.name)
    except ValueError as error:
        parser.error(f"--stages: {error}; the stages are {', '.join(Stage)}")
    except VoxqueueError as error:
        print(f"voxqueue: {error.detail}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
