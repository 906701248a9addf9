"""Plays the worker: moves jobs as one would, without an engine."""

from typing import Any
from uuid import UUID

from voxqueue.database.session import Sessions
from voxqueue.jobs import lifecycle
from voxqueue.jobs.kinds import Kind
from voxqueue.jobs.lifecycle import Move, Moved, Outcome
from voxqueue.jobs.states import RunState
from voxqueue.stages import Segment, Stage, SttResult

TRANSCRIPT = SttResult(
    text="When do you open? Thank you.",
    language="en",
    audio_seconds=3725.5,
    segments=(Segment(0.0, 1.25, "When do\nyou open?"), Segment(3661.5, 3725.0405, "Thank <you> & --> bye.")),
)

SPEECH_KEY = "speech/the-key-of-a-blob.ogg"

RESULTS: dict[Stage, dict[str, Any]] = {
    Stage.STT: TRANSCRIPT.as_json(),
    Stage.LLM: {"text": "At seven."},
    Stage.TTS: {
        "key": SPEECH_KEY,
        "format": "ogg",
        "media_type": "audio/ogg",
        "seconds": 1.5,
        "sample_rate": 24_000,
        "size": 10,
        "sha256": "ab" * 32,
    },
}


def move(sessions: Sessions, wanted: Move) -> Moved:
    """Make a move that must come about."""
    with sessions.begin() as session:
        [moved] = lifecycle.move(session.connection(), [wanted])
    assert moved is not None
    return moved


def claim(sessions: Sessions, job_id: str) -> int:
    """Take the job; returns the attempt."""
    return move(sessions, lifecycle.claim(UUID(job_id), worker="w", stages=Stage, lease_s=60)).attempt


def done(stage: Stage, result: dict[str, Any] | None = None) -> Outcome:
    """The stage has succeeded in a batch of two, after a call of 12.5 ms."""
    return Outcome(
        stage=stage,
        state=RunState.SUCCEEDED,
        engine="fake",
        model="fake-1",
        result=RESULTS[stage] if result is None else result,
        run_ms=12.5,
        started_ms_ago=20,
        batch_size=2,
    )


def skipped(stage: Stage) -> Outcome:
    return Outcome(stage=stage, state=RunState.SKIPPED, reason="nothing was said")


def finish(sessions: Sessions, job_id: str, kind: Kind) -> None:
    """Take the job through all of its stages."""
    attempt = claim(sessions, job_id)
    first, *later = (done(stage) for stage in kind.stages)
    move(sessions, lifecycle.succeed(UUID(job_id), attempt, first, tuple(later)))
