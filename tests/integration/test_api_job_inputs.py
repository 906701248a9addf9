"""A job shows all that it was asked for, so that whoever looks at a reply can see what it was to be; logs do not."""

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from api.schemas.jobs import JobView
from api.schemas.submissions import TextBody, VoiceNoteForm
from tests.recordings import recording, tone
from voxqueue.client import Client
from voxqueue.database.session import open_engine
from voxqueue.jobs.options import Options
from voxqueue.settings import DatabaseSettings

pytestmark = pytest.mark.integration

WISHES = {
    "language": "de",
    "instructions": "Antworte wie ein Pirat.",
    "voice": "alba",
    "audio_format": "mp3",
    "priority": "high",
}


def test_every_field_of_a_submission_is_one_of_the_job() -> None:
    """A new one that is not shown would leave callers guessing whether it arrived."""
    shown = {*JobView.model_fields, *Options.__dataclass_fields__, "file"}  # which is the job's `note`
    assert {*VoiceNoteForm.model_fields, *TextBody.model_fields} <= shown


def test_what_was_asked_of_a_note_is_shown(api: httpx.Client, api_url: str) -> None:
    made = api.post("/v1/voice-notes", files={"file": ("a.ogg", recording(tone(1.0), 16_000, "ogg"))}, data=WISHES)
    assert made.status_code == 202, made.text
    shown = api.get(made.headers["location"]).json()
    assert {name: shown[name] for name in WISHES} == WISHES
    with Client(api_url) as client:
        job = client.job(shown["id"])
    assert {name: getattr(job, name) for name in WISHES} == WISHES


def test_where_nothing_is_spoken_there_is_no_format(api: httpx.Client) -> None:
    made = api.post("/v1/texts", json={"text": "Hello.", "kind": "reply", "instructions": "Be brief."}).json()
    assert (made["instructions"], made["audio_format"]) == ("Be brief.", None)
    spoken = api.post("/v1/texts", json={"text": "Hello.", "kind": "speech"}).json()
    assert (spoken["instructions"], spoken["audio_format"]) == (None, "ogg")


def test_an_error_of_the_database_does_not_tell_what_was_to_be_stored(database_url: str) -> None:
    """Such errors are logged, in workers with transcripts and in the API with instructions among the parameters."""
    engine = open_engine(DatabaseSettings(url=database_url))
    with pytest.raises(DBAPIError) as failed, engine.connect() as connection:
        connection.execute(text("SELECT 1 / 0, CAST(:instructions AS text)"), {"instructions": "geheim"})
    engine.dispose()
    assert "division by zero" in str(failed.value)
    assert "geheim" not in str(failed.value)
