"""Plays the client: submits jobs over HTTP."""

import httpx

from tests.recordings import recording, tone
from voxqueue.jobs.kinds import Kind


def submit(api: httpx.Client, kind: Kind = Kind.CHAT) -> str:
    """A fresh job's id."""
    if kind.takes_note:
        note = recording(tone(0.5), 16_000, "ogg")
        answer = api.post("/v1/voice-notes", files={"file": ("a.ogg", note)}, data={"kind": kind.value})
    else:
        answer = api.post("/v1/texts", json={"text": "When do you open?", "kind": kind.value})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    assert isinstance(job_id, str)
    return job_id
