"""The API's own description: the file that is checked in, and the examples in it."""

import json

import pytest

from api.dependencies import wait_preference
from api.openapi import SNAPSHOT, snapshot
from api.schemas import examples
from api.schemas.jobs import JobView
from api.schemas.submissions import TextBody, VoiceNoteForm
from api.schemas.webhooks import EndpointBody

pytestmark = pytest.mark.unit


def test_the_description_is_up_to_date() -> None:
    assert SNAPSHOT.read_text("utf-8") == snapshot(), "run: python -m api.openapi"


def test_the_description_does_not_depend_on_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot()
    monkeypatch.setenv("VOXQUEUE_LIMITS_TEXT_CHARS", "7")
    assert snapshot() == before


def test_a_recording_is_described_as_what_the_api_takes() -> None:
    """FastAPI takes a form for URL-encoded unless it is told otherwise, whatever files it has."""
    submit = json.loads(snapshot())["paths"]["/v1/voice-notes"]["post"]
    assert list(submit["requestBody"]["content"]) == ["multipart/form-data"]


def test_the_examples_are_what_the_api_takes_and_gives() -> None:
    assert JobView.model_validate(examples.JOB).model_dump(mode="json") == examples.JOB
    assert TextBody.model_validate(examples.TEXT).metadata == {"chat": "4711"}
    assert EndpointBody.model_validate(examples.ENDPOINT).model_dump(mode="json") == examples.ENDPOINT
    assert set(examples.VOICE_NOTE) <= set(VoiceNoteForm.model_fields)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["wait=10"], 10),
        (["wait=0"], 0),
        ([' WAIT = "10" ; foo=bar'], 10),
        (["respond-async, wait=5"], 5),
        (["respond-async", "wait=5"], 5),
        (["wait=5, wait=9"], 5),
        (["wait=x, wait=9"], 9),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=1.5"], None),
        (["wait=\u0665"], None),
        (["wait=" + "9" * 5000], None),
        (["waiter=5"], None),
        (["handling=lenient"], None),
    ],
)
def test_the_wait_that_a_client_prefers(headers: list[str], seconds: int | None) -> None:
    assert wait_preference(headers) == seconds
