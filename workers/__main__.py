"""``python -m workers``: what ``voxqueue worker``, ``voxqueue courier`` and ``voxqueue flower`` become."""

import argparse
import sys

from voxqueue.errors import VoxqueueError
from voxqueue.settings import settings
from voxqueue.stages import Stage
from workers.main import run_courier, run_worker


def main() -> int:
    parser = argparse.ArgumentParser(prog="voxqueue")
    roles = parser.add_subparsers(dest="role", required=True)
    worker = roles.add_parser("worker", help="run stages")
    worker.add_argument("--stages", type=_stages, default=tuple(Stage), help="comma-separated: stt, llm, tts")
    worker.add_argument("--name", help="shown in Flower and in the fleet")
    courier = roles.add_parser("courier", help="do upkeep, and deliver webhooks")
    courier.add_argument("--name", help="shown in Flower and in the fleet")
    flower = roles.add_parser("flower", help="show every task; the command line has seen to the password")
    flower.add_argument("--address", default="127.0.0.1")
    flower.add_argument("--port", type=int, default=5555)
    arguments = parser.parse_args()
    try:
        if arguments.role == "flower":
            return _run_flower(arguments.address, arguments.port)
        if arguments.role == "courier":
            return run_courier(arguments.name)
        return run_worker(arguments.stages, arguments.name)
    except VoxqueueError as error:
        print(f"Error: {error.detail}", file=sys.stderr)
        return 2


def _stages(text: str) -> tuple[Stage, ...]:
    try:
        return tuple(Stage(name) for name in dict.fromkeys(text.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; the stages are {', '.join(Stage)}") from error


def _run_flower(address: str, port: int) -> int:
    from workers.flower_app import run_flower  # noqa: PLC0415 - workers need no web server

    return run_flower(settings(), address, port)


if __name__ == "__main__":
    sys.exit(main())
