"""The client itself: one method per thing that the API can do, and waiting that outlives a restart of the API."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self
from uuid import uuid4

import httpx

from voxqueue.client.answers import Job, Page, ReadyReport, Voice, VoiceList, WaitTimeout
from voxqueue.client.errors import ApiError, ClientError, ServerUnreachable
from voxqueue.client.paths import path_of
from voxqueue.client.quiet import OnQuiet, Quiet
from voxqueue.client.resending import until_answered
from voxqueue.client.webhooks import Webhooks
from voxqueue.client.wire import Wire, given

Recording = str | os.PathLike[str] | bytes | BinaryIO
OnChange = Callable[[Job], None]

_SLICE_S = 20  # how long one request waits on the server; `Prefer: wait` counts whole seconds
_PAUSE_S = 0.25  # between two looks at a job, where the server does not wait or every stage is to be seen
_PATIENCE_S = 60.0  # how long the API may be away while somebody waits without a timeout
_AWAY = (429, 502, 503, 504)  # not now, says the API or what stands before it


class Client:
    """Speaks to one API. A context manager; may be shared by threads.

    Args:
        base_url: Else the environment's ``VOXQUEUE_URL``, else ``http://127.0.0.1:8000``.
        api_key: Sent with every request; else the environment's ``VOXQUEUE_API_KEY``, else none.
        timeout: Seconds to connect, and to wait for each part of an answer.
        transport: Instead of the network, for tests.

    Every method raises `ServerUnreachable` when nobody answers and `ApiError` when the API says no. `webhooks` has
    those about webhooks.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 30,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._wire = Wire(base_url, api_key, timeout, transport)
        self._timeout = timeout
        self.base_url = self._wire.base_url
        self.webhooks = Webhooks(self._wire)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._wire.close()

    # --- sending ------------------------------------------------------------------------------------------------------

    def send_note(
        self,
        recording: Recording,
        *,
        file_name: str | None = None,
        kind: str | None = None,
        language: str | None = None,
        instructions: str | None = None,
        voice: str | None = None,
        audio_format: str | None = None,
        task: str | None = None,
        prompt: str | None = None,
        hotwords: str | None = None,
        word_timestamps: bool | None = None,
        metadata: Mapping[str, Any] | None = None,
        webhook_url: str | None = None,
        webhook_events: Sequence[str] | None = None,
        priority: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Upload a recording and return the job, queued. `None` leaves a choice to the API.

        If the answer is lost on its way, the recording is sent again for up to a minute; that makes no second job.

        Args:
            recording: A path, an open binary file or bytes.
            file_name: What the recording is called in answers; else the path's or file's own name.
            task: ``transcribe``, or ``translate`` into English.
            prompt: What came before, or names to expect, in the spelling to be used.
            hotwords: Words to listen for.
            webhook_url: Where the job's events are sent to.
            webhook_events: Which ones, such as ``job.succeeded``.
            word_timestamps: Whether to say when each word is spoken.
            idempotency_key: Your own name for this submission. Sent again within 24 hours, it brings the same job;
                without one, every call makes a job.
        """
        fields = {
            "kind": kind,
            "language": language,
            "instructions": instructions,
            "voice": voice,
            "audio_format": audio_format,
            "task": task,
            "prompt": prompt,
            "hotwords": hotwords,
            "word_timestamps": word_timestamps,
            "metadata": None if metadata is None else json.dumps(dict(metadata)),
            "webhook_url": webhook_url,
            "webhook_events": None if webhook_events is None else ",".join(webhook_events),
            "priority": priority,
        }
        with ExitStack() as opened:
            if isinstance(recording, str | os.PathLike):
                recording = opened.enter_context(Path(recording).open("rb"))
            name = file_name or getattr(recording, "name", None)
            if not isinstance(recording, bytes) and not recording.seekable():
                recording = recording.read()  # it may have to be sent again
            upload = (Path(name).name if isinstance(name, str) else "note", recording, "application/octet-stream")
            return self._submit("/v1/voice-notes", idempotency_key, data=given(fields), files={"file": upload})

    def send_text(
        self,
        text: str,
        *,
        kind: str | None = None,
        language: str | None = None,
        instructions: str | None = None,
        voice: str | None = None,
        audio_format: str | None = None,
        reply_schema: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        webhook_url: str | None = None,
        webhook_events: Sequence[str] | None = None,
        priority: str | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Send a text to be answered or spoken. Returns the job, queued. `None` leaves the choice to the API.

        A job of the kind ``reply`` may be given the JSON schema that its reply is to follow. A lost answer and
        `idempotency_key` are as for `send_note`.
        """
        members = {
            "text": text,
            "kind": kind,
            "language": language,
            "instructions": instructions,
            "voice": voice,
            "audio_format": audio_format,
            "reply_schema": None if reply_schema is None else dict(reply_schema),
            "metadata": None if metadata is None else dict(metadata),
            "webhook_url": webhook_url,
            "webhook_events": None if webhook_events is None else list(webhook_events),
            "priority": priority,
        }
        return self._submit("/v1/texts", idempotency_key, json=given(members))

    # --- jobs ---------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job:
        return self._wire.read(Job, self._wire.ask("GET", _path(job_id)))

    def jobs(self, *, state: str | None = None, kind: str | None = None, page_size: int | None = None) -> Iterator[Job]:
        """Walk over all jobs, newest first, fetching pages as they are needed."""
        asked = {"state": state, "kind": kind, "limit": page_size}
        cursor: str | None = None
        while True:
            page = self._wire.read(Page, self._wire.ask("GET", "/v1/jobs", params=given({**asked, "cursor": cursor})))
            yield from page.jobs
            cursor = page.next_cursor
            if cursor is None:
                return

    def wait(
        self,
        job: Job | str,
        *,
        timeout: float | None = None,
        on_change: OnChange | None = None,
        on_quiet: OnQuiet | None = None,
    ) -> Job:
        """Return the job once it has succeeded, failed or been canceled; `Job.raise_for_state` tells them apart.

        An API that restarts meanwhile is waited for: until the timeout, or for a minute where there is none.

        Args:
            job: The job or its id.
            timeout: Seconds; None waits as long as the job takes.
            on_change: Called with the job as first seen, and once after each change of its progress, its state or a
                stage's.
            on_quiet: Called when nothing has changed, or the API has not answered, for ten seconds, twenty and so on.

        Raises:
            WaitTimeout: The job was not finished in time. It goes on.
        """
        job_id = job if isinstance(job, str) else job.id
        end = None if timeout is None else time.monotonic() + timeout
        last: Job | None = None
        heard_at = time.monotonic()
        quiet = Quiet(on_quiet)
        while True:
            began = time.monotonic()
            pause = _PAUSE_S
            try:
                seen = self._look(job_id, 0 if on_change or on_quiet else _SLICE_S, end)
            except (ServerUnreachable, ApiError) as error:
                pause = self._pause_after(error, began - heard_at if end is None else 0.0)
                quiet.still(last, error)
            else:
                if last is None or seen.marks != last.marks:
                    quiet.news()
                    if on_change:
                        on_change(seen)
                quiet.still(seen, None)
                last, heard_at = seen, time.monotonic()
                if seen.is_finished:
                    return seen
            if end is not None and time.monotonic() >= end:
                how = f"it is {last.state}" if last else "the API did not answer"
                raise WaitTimeout(f"Job {job_id} was not finished after {timeout:g} s: {how}. Wait for longer?", last)
            time.sleep(max(0.0, _until(end, pause - (time.monotonic() - began))))

    def cancel(self, job_id: str) -> Job:
        return self._wire.read(Job, self._wire.ask("POST", f"{_path(job_id)}/cancel"))

    def retry(self, job_id: str) -> Job:
        """Queue a job that has failed or been canceled again; the stages that it has finished are not repeated."""
        return self._wire.read(Job, self._wire.ask("POST", f"{_path(job_id)}/retry"))

    def delete(self, job_id: str) -> None:
        """Remove the job and what it has stored."""
        self._wire.ask("DELETE", _path(job_id))

    # --- results ------------------------------------------------------------------------------------------------------

    def transcript(
        self,
        job_id: str,
        format: Literal["json", "text", "srt", "vtt"] = "json",  # noqa: A002 - the wire's own word
    ) -> str:
        """What was said, as the text of such a document."""
        return self._wire.ask("GET", f"{_path(job_id)}/transcript", params={"format": format}).text

    def audio(self, job_id: str) -> bytes:
        """The speech, as the bytes of a file in the job's audio format."""
        return self._wire.ask("GET", f"{_path(job_id)}/audio", follow_redirects=True).content

    def save_audio(self, job_id: str, path: str | os.PathLike[str]) -> Path:
        """Store the speech under a path, which holds all of it or is left as it was. Returns the absolute path."""
        target = Path(path).absolute()
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            unfinished.write_bytes(self.audio(job_id))
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return target

    def ready(self, *, stage: str | None = None, min_warm: int | None = None) -> ReadyReport:
        """How warm the fleet is: ready or not, that is no error. Asks for the configured quorum, or for this many warm
        workers of one stage."""
        params = given({"stage": stage, "min_warm": min_warm})
        answer = self._wire.ask("GET", "/api/ready", params=params, accepted=(503,))
        if answer.headers.get("content-type", "").startswith("application/problem+json"):
            raise self._wire.refusal(answer)
        return self._wire.read(ReadyReport, answer)

    def voices(self, *, language: str | None = None) -> tuple[Voice, ...]:
        """The voices that workers have warm now, by name; those that speak a language, such as ``de``, or all."""
        answer = self._wire.ask("GET", "/v1/voices", params=given({"language": language}))
        return self._wire.read(VoiceList, answer).voices

    # --- the wire -----------------------------------------------------------------------------------------------------

    def _submit(self, path: str, key: str | None, **options: Any) -> Job:
        """Send what makes a job, so that it makes one and no more, whatever happens to the answer."""
        key = uuid4().hex if key is None else key
        if not all("!" <= letter <= "~" for letter in key):
            raise ClientError(f"{key!r} is no idempotency key: it may have visible ASCII characters only.")
        headers = {"Idempotency-Key": key}
        return until_answered(lambda: self._wire.read(Job, self._wire.ask("POST", path, headers=headers, **options)))

    def _look(self, job_id: str, slice_s: int, end: float | None) -> Job:
        """One look at a job, for which the server may wait that long."""
        slice_s = max(0, int(_until(end, slice_s)))
        headers = {"Prefer": f"wait={slice_s}"} if slice_s else {}
        timeout = max(1.0, _until(end, self._timeout)) + slice_s  # a server that hangs must not outlast our caller
        return self._wire.read(Job, self._wire.ask("GET", _path(job_id), headers=headers, timeout=timeout))

    @staticmethod
    def _pause_after(error: ServerUnreachable | ApiError, silent_s: float) -> float:
        """Seconds until the next try; raises the error again if there is no point in one."""
        if silent_s > _PATIENCE_S or (isinstance(error, ApiError) and error.status not in _AWAY):
            raise error
        return min(getattr(error, "retry_after", None) or 0.5, 5.0)


def _path(job_id: str) -> str:
    return path_of("/v1/jobs", job_id, "job")


def _until(end: float | None, seconds: float) -> float:
    """That many seconds, but none after the end."""
    return seconds if end is None else min(seconds, end - time.monotonic())
