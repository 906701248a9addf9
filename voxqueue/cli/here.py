"""``voxqueue ready here``: are the workers of this machine well? For the health checks of containers.

It asks Redis for their reports, not the API: a worker does not become ill because an API is being replaced.
"""

import socket

import typer

from voxqueue.cli.console import FAILED, UNREACHABLE, complain, plain


def here() -> None:
    """Say how the workers of this machine stand.

    Status: 0 each is warm or warming up, 1 not, 3 nobody knows: Redis is away, or no setting says where it is.
    """
    from redis.exceptions import RedisError

    from voxqueue.errors import MisconfiguredError
    from voxqueue.fleet import Fleet
    from voxqueue.settings import settings as read_settings

    host = socket.gethostname()
    try:
        settings = read_settings()
        settings.redis.require_url()
    except MisconfiguredError as error:  # else a health check would take a worker for ill that nobody has asked
        complain(error.detail)
        raise typer.Exit(UNREACHABLE) from error
    try:
        workers = [worker for worker in Fleet(settings.redis, settings.worker).workers() if worker.host == host]
    except RedisError as error:
        complain("Redis does not answer: see that it runs, and that VOXQUEUE_REDIS_URL is right.")
        raise typer.Exit(UNREACHABLE) from error
    if not workers:
        complain(f"No worker or courier of {host} has reported within {settings.worker.heartbeat_ttl_s:g} s.")
        raise typer.Exit(FAILED)
    for worker in workers:
        stages = ", ".join(f"{stage} {report.status}" for stage, report in worker.stages.items())
        typer.echo(plain(f"{worker.worker}: {stages or 'serves no stage'}"))
    errors = [report.error for worker in workers for report in worker.stages.values() if report.error]
    for text in errors:
        complain(text)
    if any(worker.has_failed for worker in workers):
        raise typer.Exit(FAILED)
