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
    """A field, a parameter or a header is missing, unknown or wrong. `errors` names each, and what is wrong."""

    status, code, title = 422, "invalid-request", "The request is not valid"

    @classmethod
    def of(cls, *faults: tuple[str, str]) -> Self:
        """From the fields that are wrong, each with what is wrong with it."""
        return cls(
            "; ".join(f"{field}: {fault}" for field, fault in faults),
            errors=[{"field": field, "detail": fault} for field, fault in faults],
        )


class WrongMediaType(VoxqueueError):
    """Recordings are sent as `multipart/form-data`, everything else as `application/json`."""

    status, code, title = 415, "wrong-media-type", "The body is of the wrong type"


class NotFound(VoxqueueError):
    """There is nothing under this address or id, or it belongs to another tenant."""

    status, code, title = 404, "not-found", "There is no such thing"


class JobFinished(VoxqueueError):
    """A job is to be canceled that has ended already."""

    status, code, title = 409, "job-finished", "The job has already finished"


class ResultNotReady(VoxqueueError):
    """A transcript or a speech is asked for before its stage has finished."""

    status, code, title, retryable = 409, "result-not-ready", "The job has no such result yet", True


class Unauthorized(VoxqueueError):
    """The API asks for keys, and the request has none, or one that is unknown, expired or revoked."""

    status, code, title = 401, "unauthorized", "A valid API key is needed"


class Forbidden(VoxqueueError):
    """The key is good, but lacks the scope that this route needs; `scope` names it."""

    status, code, title = 403, "forbidden", "This is not allowed"


class RateLimited(VoxqueueError):
    """The key, or without keys the address, has sent more requests than `VOXQUEUE_LIMITS_REQUESTS`."""

    status, code, title, retryable = 429, "rate-limited", "Too many requests", True


class TooManyJobs(VoxqueueError):
    """The key has as many unfinished jobs as `VOXQUEUE_LIMITS_OPEN_JOBS` allows."""

    status, code, title, retryable = 429, "too-many-jobs", "Too many jobs under way", True


class TooManyEndpoints(VoxqueueError):
    """The tenant has registered as many endpoints as there may be."""

    status, code, title = 409, "too-many-endpoints", "Too many webhook endpoints"


class EndpointDisabled(VoxqueueError):
    """Something is to be sent to an endpoint that is disabled."""

    status, code, title = 409, "endpoint-disabled", "The webhook endpoint is disabled"


class IdempotencyKeyReused(VoxqueueError):
    """The `Idempotency-Key` came with another payload before."""

    status, code, title = 422, "idempotency-key-reused", "The idempotency key belongs to another request"


class IdempotencyKeyInUse(VoxqueueError):
    """The request that came first with this `Idempotency-Key` is still being answered."""

    status, code, retryable = 409, "idempotency-key-in-use", True
    title = "A request with this idempotency key is under way"


class JobNotEnded(VoxqueueError):
    """A job is to be tried again that is still open, or has succeeded."""

    status, code = 409, "job-not-ended"
    title = "Only a job that has failed or been canceled can be tried again"


class BodyTooLarge(VoxqueueError):
    """The body, or the recording in it, has more bytes than allowed."""

    status, code, title = 413, "body-too-large", "The upload is too large"


class RangeNotSatisfiable(VoxqueueError):
    """`Range` asks for bytes that lie outside of the file."""

    status, code, title = 416, "range-not-satisfiable", "The file has no such part"


class AudioError(VoxqueueError):
    """An upload that cannot be used as a note."""

    status, code, title = 422, "unusable-audio", "The recording cannot be used"


class EmptyAudio(AudioError):
    """The file has no bytes, or no sound could be decoded from it."""

    code, title = "empty-audio", "The recording is empty"


class NotAudio(AudioError):
    """The file is of no format that we read, whatever it is called."""

    status, code, title = 415, "not-audio", "The file is not a recording that we can read"


class NoAudioStream(AudioError):
    """The file is a video without sound, for instance."""

    code, title = "no-audio-stream", "The file holds no sound"


class AudioTooLong(AudioError):
    """The recording lasts longer than `VOXQUEUE_LIMITS_NOTE_SECONDS`."""

    status, code, title = 413, "audio-too-long", "The recording is too long"


class AudioTooShort(AudioError):
    """The recording lasts less than `VOXQUEUE_LIMITS_NOTE_MIN_SECONDS`."""

    code, title = "audio-too-short", "The recording is too short"


class AudioTruncated(AudioError):
    """The end of the file is missing, as after an upload that was interrupted."""

    code, title = "audio-truncated", "The recording breaks off"


class AudioCorrupt(AudioError):
    """The format is known, but nothing of use can be read from the file."""

    code, title = "audio-corrupt", "The recording is damaged"


# --- what an operator can mend ----------------------------------------------------------------------------------------


class MisconfiguredError(VoxqueueError):
    """A setting is missing or wrong; the process cannot do its work until somebody changes it."""

    code, title = "misconfigured", "A setting is missing or wrong"


class Unavailable(VoxqueueError):
    """Something that we need does not answer right now."""

    status, code, title, retryable = 503, "unavailable", "The service cannot do this right now", True


class StorageUnavailable(Unavailable):
    """The object store, or the folder for blobs, is away or refuses us."""

    code, title = "storage-unavailable", "The object store does not answer"


class DatabaseUnavailable(Unavailable):
    """Postgres is away, or takes no writes."""

    code, title = "database-unavailable", "The database does not answer"


class QueueFull(Unavailable):
    """As many jobs wait, of all keys together, as `VOXQUEUE_LIMITS_QUEUED_JOBS` allows."""

    code, title = "queue-full", "The queue is full"


class BlobMissing(VoxqueueError):
    """The object store holds nothing under a key that a row names."""

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
    """The engine, or the decoding of the recording, has brought nothing in the time that it is given."""

    status, code, title, retryable = 504, "deadline-exceeded", "The stage took too long", True


class EngineUnavailable(Unavailable):
    """What the engine asks is away, or wants to be left alone for a while. The job waits; that counts as no failure."""

    code, title = "engine-unavailable", "The engine's server does not answer right now"


class NotBegun(StageError):
    """The engine has not looked at the request; that counts as no failure, and the job goes back to its queue."""

    status, code, title, retryable = 503, "not-begun", "The stage was not begun", True


class NoteGone(StageError):
    """The note's recording is not in the object store any more."""

    code, title = "note-gone", "The recording is gone"


class LedgerError(StageError):
    """The database refused what a stage has brought; nothing of it was written."""

    code, title = "ledger-error", "The result cannot be written down"


class WorkersLost(StageError):
    """Several workers went away while they ran the job; it is likely to be what kills them."""

    code, title = "workers-lost", "The job's workers went away"


class JobExpired(StageError):
    """No worker could begin the job for so long that its result would come too late."""

    code, title = "job-expired", "The job has waited for too long"


class EngineUnusable(VoxqueueError):
    """The engine could not be loaded or warmed on this machine. The detail says how to mend that."""

    status, code, title = 503, "engine-unusable", "The engine cannot be used here"
