"""``voxqueue flower``: Flower, which shows every task, kept from strangers."""

from typing import Annotated

import typer


def flower(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on", metavar="PORT")] = 5555,
    address: Annotated[str, typer.Option(help="Address to listen on; others than loopback want a password")] = (
        "127.0.0.1"
    ),
) -> None:
    """Run Flower, which shows every task.

    VOXQUEUE_FLOWER_BASIC_AUTH=user:password protects it, and lets it listen beyond loopback.
    """
    from voxqueue.cli.processes import become
    from voxqueue.errors import MisconfiguredError
    from voxqueue.keys.loopback import is_loopback
    from voxqueue.listening import check_can_listen
    from voxqueue.settings import settings as read_settings

    settings = read_settings()
    settings.redis.require_url()  # what is missing is better said here than in a traceback
    password = settings.flower.basic_auth.get_secret_value() if settings.flower.basic_auth else ""
    if not password and not is_loopback(address):
        raise MisconfiguredError(
            f"Flower can stop workers, so it does not listen on {address} without a password: "
            "set VOXQUEUE_FLOWER_BASIC_AUTH=user:password."
        )
    if password and not all(all(pair.partition(":")[::2]) for pair in password.split(",")):
        raise MisconfiguredError("VOXQUEUE_FLOWER_BASIC_AUTH is not user:password (several with commas between).")
    check_can_listen(address, port, host_option="--address")
    # Addresses with passwords go by environment: everyone on the machine can read arguments.
    env = {"FLOWER_BASIC_AUTH": password} if password else {}
    become("workers", "flower", "--address", address, "--port", str(port), env=env)
