"""What upkeep finds: jobs without a worker, and jobs whose hint was lost. Whichever worker or courier sweeps counts."""

from prometheus_client import Counter

from voxqueue.stages import Stage

_LOST_LEASES = Counter("voxqueue_lost_leases", "Jobs returned to their queue since their worker went away", ("stage",))
_POISON = Counter("voxqueue_poison_jobs", "Jobs failed since they took too many workers down", ("stage",))
_EXPIRED = Counter("voxqueue_expired_jobs", "Jobs failed since no worker came to them", ("stage",))
_HINTS = Counter("voxqueue_hints_sent_again", "Hints sent by the sweep: lost ones, and those of retries", ("stage",))

for _counter in (_LOST_LEASES, _POISON, _EXPIRED, _HINTS):  # from zero on, see `jobs.expect`
    for _stage in Stage:
        _counter.labels(_stage.value)


def lease_lost(stage: Stage, *, poison: bool) -> None:
    """A job had lost its worker, and was returned or, as `poison`, failed."""
    (_POISON if poison else _LOST_LEASES).labels(stage.value).inc()


def expired(stage: Stage) -> None:
    _EXPIRED.labels(stage.value).inc()


def hinted_again(stage: Stage) -> None:
    _HINTS.labels(stage.value).inc()
