"""What is measured of jobs and their stages: how many, how long they wait and run, how they end."""

from prometheus_client import Counter, Histogram

from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.lifecycle import Moved
from voxqueue.jobs.states import JobState
from voxqueue.stages import Stage

_LONG = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_RUN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_SUBMITTED = Counter("voxqueue_jobs_submitted", "Jobs accepted", ("kind",))
_FINISHED = Counter("voxqueue_jobs_finished", "Jobs that have ended, by their last state", ("kind", "state"))
_DURATION = Histogram(
    "voxqueue_job_duration_seconds", "From a job's submission to its success", ("kind",), buckets=_LONG
)
_WAIT = Histogram(
    "voxqueue_stage_wait_seconds",
    "From the moment that a stage could begin to the model call that brought its result",
    ("stage",),
    buckets=(0.005, 0.01, 0.025, *_LONG),
)
_STAGE_RUN = Histogram(
    "voxqueue_stage_run_seconds", "Model calls of one stage of one job", ("stage", "engine"), buckets=_RUN
)
_STAGE_RUNS = Counter("voxqueue_stage_runs", "Stages that have ended", ("stage", "engine", "outcome"))
_RETRIES = Counter("voxqueue_stage_retries", "Stages to be tried again, and why", ("stage", "cause"))
_FIRST_AUDIO = Histogram(
    "voxqueue_time_to_first_audio_seconds", "From a job's submission to its stored speech", ("kind",), buckets=_LONG
)

# The same observations once more, under the names that dashboards for text to speech go by.
_TTS_REQUESTS = Counter("tts_requests", "Texts spoken, or not", ("status",))
_TTS_DURATION = Histogram(
    "tts_request_duration_seconds", "Model calls of text to speech for one job", ("engine",), buckets=_RUN
)
_TTS_FIRST_AUDIO = Histogram(
    "tts_time_to_first_audio_seconds", "From a job's submission to its stored speech", ("kind",), buckets=_LONG
)


def expect(stage: Stage) -> None:
    """Show the counters of a stage from zero on: one that begins with 1 has never risen, for Prometheus."""
    for cause in ("failure", "outage"):
        _RETRIES.labels(stage.value, cause)
    if stage is Stage.TTS:
        for status in ("succeeded", "failed"):
            _TTS_REQUESTS.labels(status)


def submitted(kind: Kind) -> None:
    """A job of this kind was accepted."""
    _SUBMITTED.labels(kind.value).inc()


def moved(job: Moved) -> None:
    """A job was moved, and that is committed."""
    if job.state.is_terminal:
        _FINISHED.labels(job.kind.value, job.state.value).inc()
    if job.state is JobState.SUCCEEDED:
        _DURATION.labels(job.kind.value).observe(job.age_s)


def stage_succeeded(kind: Kind, stage: Stage, engine: str, *, waited_s: float, run_s: float, age_s: float) -> None:
    """A stage's result is committed; `age_s` is the job's age by then."""
    _STAGE_RUNS.labels(stage.value, engine, "succeeded").inc()
    _WAIT.labels(stage.value).observe(waited_s)
    _STAGE_RUN.labels(stage.value, engine).observe(run_s)
    if stage is Stage.TTS:
        _FIRST_AUDIO.labels(kind.value).observe(age_s)
        _TTS_REQUESTS.labels("succeeded").inc()
        _TTS_DURATION.labels(engine).observe(run_s)
        _TTS_FIRST_AUDIO.labels(kind.value).observe(age_s)


def stage_failed(stage: Stage, engine: str) -> None:
    """A stage has failed for good, and its job with it."""
    _STAGE_RUNS.labels(stage.value, engine, "failed").inc()
    if stage is Stage.TTS:
        _TTS_REQUESTS.labels("failed").inc()


def stage_retried(stage: Stage, *, outage: bool) -> None:
    """A stage is tried again later: it failed, or something that it needs was away."""
    _RETRIES.labels(stage.value, "outage" if outage else "failure").inc()
