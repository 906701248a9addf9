"""The tree of errors. Each knows its HTTP status, a stable code, and whether trying again can help.

Knows nothing of HTTP frameworks or of where it is raised. Messages are written for the person who must act on them.
"""

from typing import Any, ClassVar, Self


class VoxqueueError(Exception):
    """Base of every error that a caller or an operator may see.

    Args:
        detail: What happened and what to do about it, in one or two sentences.
        retry_after: Seconds after which trying again makes sense, where known.
        extra: Further members for the problem document, JSON values only.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, *, retry_after: float | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.extra = extra

    @property
    def type(self) -> str:
        """The stable problem type of RFC 9457."""
        return f"urn:voxqueue:problem:{self.code}"

    def as_problem(self) -> dict[str, Any]:
        """The error as the members of a problem document, without those that only a response has."""
        return {"type": self.type, "title": self.title, "detail": self.detail, **self.extra}


# --- what a caller can mend -------------------------------------------------------------------------------------------


class InvalidRequest(VoxqueueError):
    status, code, title = 422, "invalid-request", "The request is not valid"

    @classmethod
    def of(cls, *faults: tuple[str, str]) -> Self:
        """From the fields that are wrong, each with what is wrong with it."""
        return cls(
            "; ".join(f"{field}: {fault}" for field, fault in faults),
            errors=[{"field": field, "detail": fault} for field, fault in faults],
        )


class WrongMediaType(VoxqueueError):
    status, code, title = 415, "wrong-media-type", "The body is of the wrong type"


class NotFound(VoxqueueError):
    status, code, title = 404, "not-found", "No such thing"


class JobFinished(VoxqueueError):
    status, code, title = 409, "job-finished", "The job has already finished"


class ResultNotReady(VoxqueueError):
    status, code, title = 409, "result-not-ready", "The job has no such result yet"


class Unauthorized(VoxqueueError):
    status, code, title = 401, "unauthorized", "A valid API key is needed"


class Forbidden(VoxqueueError):
    status, code, title = 403, "forbidden", "This is not allowed"


class RateLimited(VoxqueueError):
    status, code, title = 429, "rate-limited", "Too many requests"


class TooManyJobs(VoxqueueError):
    status, code, title = 429, "too-many-jobs", "Too many jobs under way"


class TooManyEndpoints(VoxqueueError):
    status, code, title = 409, "too-many-endpoints", "Too many webhook endpoints"


class EndpointDisabled(VoxqueueError):
    status, code, title = 409, "endpoint-disabled", "The webhook endpoint is disabled"


class IdempotencyKeyReused(VoxqueueError):
    status, code, title = 422, "idempotency-key-reused", "The idempotency key belongs to another request"


class IdempotencyKeyInUse(VoxqueueError):
    status, code, title = 409, "idempotency-key-in-use", "A request with this idempotency key is under way"


class JobNotEnded(VoxqueueError):
    status, code, title = 409, "job-not-ended", "The job has not ended in vain"


class BodyTooLarge(VoxqueueError):
    status, code, title = 413, "body-too-large", "The upload is too large"


class RangeNotSatisfiable(VoxqueueError):
    status, code, title = 416, "range-not-satisfiable", "The file has no such part"


class AudioError(VoxqueueError):
    """An upload that cannot be used as a note."""

    status, code, title = 422, "unusable-audio", "The recording cannot be used"


class EmptyAudio(AudioError):
    code, title = "empty-audio", "The recording is empty"


class NotAudio(AudioError):
    status, code, title = 415, "not-audio", "The file is not a recording that we can read"


class NoAudioStream(AudioError):
    code, title = "no-audio-stream", "The file holds no sound"


class AudioTooLong(AudioError):
    status, code, title = 413, "audio-too-long", "The recording is too long"


class AudioTooShort(AudioError):
    code, title = "audio-too-short", "The recording is too short"


class AudioTruncated(AudioError):
    code, title = "audio-truncated", "The recording breaks off"


class AudioCorrupt(AudioError):
    code, title = "audio-corrupt", "The recording is damaged"


# --- what an operator can mend ----------------------------------------------------------------------------------------


class MisconfiguredError(VoxqueueError):
    """A setting is missing or wrong; the process cannot do its work until somebody changes it."""

    code, title = "misconfigured", "A setting is missing or wrong"


class Unavailable(VoxqueueError):
    """Something that we need does not answer right now."""

    status, code, title, retryable = 503, "unavailable", "The service cannot do this right now", True


class StorageUnavailable(Unavailable):
    code, title = "storage-unavailable", "The object store does not answer"


class DatabaseUnavailable(Unavailable):
    code, title = "database-unavailable", "The database does not answer"


class QueueFull(Unavailable):
    code, title = "queue-full", "The queue is full"


class BlobMissing(VoxqueueError):
    """The object store holds nothing under this key."""

    code, title = "blob-missing", "A stored file is gone"


# --- what a stage can meet --------------------------------------------------------------------------------------------


class StageError(VoxqueueError):
    """A stage could not produce its result."""

    code, title = "stage-failed", "A stage of the job failed"


class EngineFailed(StageError):
    """The engine broke on this request in a way that another try may not repeat."""

    code, title, retryable = "engine-failed", "The engine failed", True


class EngineRefused(StageError):
    """The engine cannot do what this request asks; no other try will change that."""

    status, code, title = 422, "engine-refused", "The engine cannot do this"


class EngineOutOfMemory(StageError):
    """The device's memory did not hold even this one request."""

    code, title, retryable = "engine-out-of-memory", "The engine ran out of memory", True


class DeadlineExceeded(StageError):
    status, code, title, retryable = 504, "deadline-exceeded", "The stage took too long", True


class EngineUnavailable(Unavailable):
    """What the engine asks is away, or wants to be left alone for a while. The job waits; that counts as no failure."""

    code, title = "engine-unavailable", "The engine's server does not answer right now"


class NotBegun(StageError):
    """The engine has not looked at the request; that counts as no failure, and the job goes back to its queue."""

    status, code, title, retryable = 503, "not-begun", "The stage was not begun", True


class WorkersLost(StageError):
    """The job is likely to be what kills its workers."""

    code, title = "workers-lost", "The job's workers went away"


class JobExpired(StageError):
    """No worker could begin the job for so long that its result would come too late."""

    code, title = "job-expired", "The job has waited for too long"


class EngineUnusable(VoxqueueError):
    """The engine could not be loaded or warmed on this machine. The detail says how to mend that."""

    status, code, title = 503, "engine-unusable", "The engine cannot be used here"
