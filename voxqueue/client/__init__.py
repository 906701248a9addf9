"""The Python client: send notes and texts, wait for jobs, fetch what they made.

It knows the wire and nothing behind it.

with Client() as client:
    job = client.wait(client.send_note("note.ogg")).raise_for_state()
    print(job.transcript.text, job.reply.text)
    client.save_audio(job.id, "reply.ogg")
"""

from voxqueue.client.answers import (
    Audio,
    Eta,
    Job,
    JobFailed,
    Note,
    Problem,
    ReadyReport,
    Reply,
    Segment,
    Service,
    StageRun,
    Transcript,
    Voice,
    WaitTimeout,
    Word,
)
from voxqueue.client.errors import ApiError, ClientError, ServerUnreachable
from voxqueue.client.http import Client
from voxqueue.client.webhook_answers import Attempt, Delivery, Endpoint, Event, Secret
from voxqueue.client.webhooks import Webhooks
from voxqueue.client.wire import DEFAULT_URL

__all__ = [
    "DEFAULT_URL",
    "ApiError",
    "Attempt",
    "Audio",
    "Client",
    "ClientError",
    "Delivery",
    "Endpoint",
    "Eta",
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
