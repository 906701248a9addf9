"""The Python client: send notes and texts, wait for jobs, fetch what they made.

It knows the wire and nothing behind it.

with Client() as client:
    job = client.wait(client.send_note("note.ogg")).raise_for_state()
    print(job.transcript.text, job.reply.text)
    client.save_audio(job.id, "reply.ogg")
"""

from voxqueue.client.answers import (
    Attempt,
    Audio,
    Delivery,
    Endpoint,
    Event,
    Job,
    Note,
    Problem,
    ReadyReport,
    Reply,
    Secret,
    Segment,
    Service,
    StageRun,
    Transcript,
    Voice,
    Word,
)
from voxqueue.client.errors import ApiError, ClientError, JobFailed, ServerUnreachable, WaitTimeout
from voxqueue.client.http import DEFAULT_URL, Client
from voxqueue.client.webhooks import Webhooks

__all__ = [
    "DEFAULT_URL",
    "ApiError",
    "Attempt",
    "Audio",
    "Client",
    "ClientError",
    "Delivery",
    "Endpoint",
    "Event",
    "Job",
    "JobFailed",
    "Note",
    "Problem",
    "ReadyReport",
    "Reply",
    "Secret",
    "Segment",
    "ServerUnreachable",
    "Service",
    "StageRun",
    "Transcript",
    "Voice",
    "WaitTimeout",
    "Webhooks",
    "Word",
]
