"""Sends real jobs to a stack, and keeps a book of what was promised: every 202, and every answer that is no promise."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from tests.recordings import recording
from tests.speech import speak
from voxqueue.jobs.kinds import Kind
from voxqueue.webhooks.events import JOB_EVENTS

_CLEAN = (503, 507, 429)  # what an outage may be answered with
_EACH = (Kind.VOICE_NOTE, Kind.CHAT, Kind.TRANSCRIPTION, Kind.SPEECH, Kind.VOICE_NOTE, Kind.REPLY)
LOAD = len(_EACH)
"""How many jobs `Book.send_load` sends."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A job that was answered with 202, and the state that it must end in."""

    job_id: str
    kind: Kind
    ends: str


@dataclass(slots=True)
class Book:
    """One stack's book.

    Attributes:
        webhook_url: Is told of everything about every job.
        promises: By job id.
        refused: Answers that were an outage's, by status.
        unanswered: Submissions whose connection broke: a job may have come of them, or not.
        wrong: Answers that nobody should ever get, in words.
        deleted: Jobs that were deleted since.
    """

    url: str
    webhook_url: str
    promises: dict[str, Promise] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    unanswered: int = 0
    wrong: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.close()

    def send(self, kind: Kind, words: str = "", *, ends: str = "succeeded", key: str | None = None) -> str | None:
        """Submit one job, with a note or a text of its own; returns its id if it was promised.

        Args:
            kind: Notes say something different each time; so do texts.
            words: Put before the text, or taken as a note's prompt.
            ends: The state that the job must end in.
            key: An `Idempotency-Key`.
        """
        number = self._next_number()
        headers = {"Idempotency-Key": key} if key else {}
        try:
            if kind in (Kind.VOICE_NOTE, Kind.TRANSCRIPTION):
                form = {"kind": kind.value, **self._webhook(",".join(JOB_EVENTS))}
                form |= {"prompt": words} if words else {}
                files = {"file": ("note.ogg", _note(number), "audio/ogg")}
                answer = self._http.post("/v1/voice-notes", data=form, files=files, headers=headers)
            else:
                body = self._text(kind, f"{words} This is text number {number}.".strip())
                answer = self._http.post("/v1/texts", json=body, headers=headers)
        except httpx.TransportError:
            self.unanswered += 1
            return None
        return self._enter(answer, kind, ends)

    def send_load(self, times: int = 1) -> list[str]:
        """Submit some of every kind at once; returns the ids of those that were promised."""
        kinds = _EACH * times
        with ThreadPoolExecutor(6) as pool:
            return [job_id for job_id in pool.map(self.send, kinds) if job_id]

    @contextmanager
    def sending(self, times: int = 1) -> Iterator[None]:
        """The same while the block runs, and what is left of it after that."""
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(self.send_load, times)
            yield
            sent.result()

    def insist(self, kind: Kind, key: str) -> str:
        """Send the same submission again and again until it is promised, as a client with an idempotency key does."""
        body = self._text(kind, f"This is text number {self._next_number()}.")
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            try:
                answer = self._http.post("/v1/texts", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code == 202:
                job_id = self._enter(answer, kind, "succeeded")
                assert job_id
                return job_id
            if answer.status_code not in (*_CLEAN, 409):
                break
            time.sleep(0.2)
        raise AssertionError(f"it was never promised: {answer.status_code} {answer.text[:300]}")

    def cancel(self, job_id: str) -> None:
        answer = self._http.post(f"/v1/jobs/{job_id}/cancel")
        assert answer.status_code == 200, answer.text
        self.promises[job_id] = Promise(job_id, self.promises[job_id].kind, "canceled")

    def delete(self, job_id: str) -> None:
        answer = self._http.delete(f"/v1/jobs/{job_id}")
        assert answer.status_code == 204, answer.text
        del self.promises[job_id]
        self.deleted.add(job_id)

    def show(self, job_id: str) -> dict[str, Any]:
        answer = self._http.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def get(self, path: str) -> httpx.Response:
        return self._http.get(path)

    def _next_number(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def _text(self, kind: Kind, text: str) -> dict[str, Any]:
        return {"kind": kind.value, "text": text, **self._webhook(list(JOB_EVENTS))}

    def _webhook(self, events: object) -> dict[str, Any]:
        return {"webhook_url": self.webhook_url, "webhook_events": events}

    def _enter(self, answer: httpx.Response, kind: Kind, ends: str) -> str | None:
        if answer.status_code == 202:
            job_id = str(answer.json()["id"])
            self.promises[job_id] = Promise(job_id, kind, ends)
            return job_id
        self.refused[answer.status_code] += 1
        if answer.status_code not in _CLEAN:
            self.wrong.append(f"a valid {kind} was answered {answer.status_code}: {answer.text[:300]}")
        return None


def _note(number: int) -> bytes:
    samples, rate = speak(f"This is note number {number}.")
    return recording(samples, rate, "ogg")
