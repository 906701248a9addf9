"""``voxqueue ready here``: are the workers of this machine well? For the health checks of containers.

It asks Redis for their reports, not the API: a worker does not become ill because an API is being replaced.
"""

import socket

import typer

from voxqueue.cli.console import FAILED, UNREACHABLE, complain, plain

_ELSEWHERE = "To ask an API about its workers, that of `voxqueue up` as well: `voxqueue ready check`."


def here() -> None:
    """Say how the workers of this machine stand, by their own Redis.

    Status: 0 each is warm or warming up, 1 not, 3 nobody knows: Redis is away, or no setting says where it is.
    """
    from redis.exceptions import RedisError

    from voxqueue.errors import MisconfiguredError
    from voxqueue.fleet import Fleet
    from voxqueue.settings import settings as read_settings

    host = socket.gethostname()
    try:
        settings = read_settings()
        if not settings.redis.url:
            raise MisconfiguredError(
                "No Redis: this asks the one that the workers of this machine report to, so set VOXQUEUE_REDIS_URL as "
                f"they have it. {_ELSEWHERE}"
            )
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
        complain(
            f"No worker or courier of the host {host} has reported to the Redis of VOXQUEUE_REDIS_URL within "
            f"{settings.worker.heartbeat_ttl_s:g} s. Run this where a worker runs, with its settings. {_ELSEWHERE}"
        )
        raise typer.Exit(FAILED)
    for worker in workers:
        stages = ", ".join(f"{stage} {report.status}" for stage, report in worker.stages.items())
        typer.echo(plain(f"{worker.worker}: {stages or 'serves no stage'}"))
    failed = [(stage, report) for worker in workers for stage, report in worker.stages.items() if report.error]
    for stage, report in failed:
        complain(f"{stage}: {report.error}")
    if any(worker.has_failed for worker in workers):
        raise typer.Exit(FAILED)
