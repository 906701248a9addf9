"""The client against a server that speaks the wire, over real sockets."""

import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer

import pytest

from tests.wire import JOB_ID, Asked, Said, Wire, fleet, job, serving
from voxqueue.client import ApiError, Client, ClientError, Job, JobFailed, ServerUnreachable, WaitTimeout
from voxqueue.embedded.processes import free_port

pytestmark = pytest.mark.integration

_WAIT_S = 60  # a server that hangs; no client of these tests waits for so long

BUSY = Said.problem(503, "unavailable", "The database does not answer.", retry_after="1")


def script(*answers: Said) -> Iterator[Said]:
    """One answer after the other, the last one for ever."""
    yield from answers
    while True:
        yield answers[-1]


@contextmanager
def saying(*answers: Said) -> Iterator[tuple[Wire, Client]]:
    said = script(*answers)
    with serving(lambda asked: next(said)) as wire, Client(wire.url, timeout=5) as client:
        yield wire, client


def test_a_note_is_sent_as_a_form_with_only_the_fields_that_were_given(tmp_path: Path) -> None:
    note = tmp_path / "grüße.ogg"
    note.write_bytes(b"OggS-bytes")
    with saying(Said.json(job("queued", "stt"), 202)) as (wire, client):
        sent = client.send_note(note, kind="transcription", word_timestamps=True, metadata={"chat": "7"})
        body = wire.asked[0].body
        assert (wire.asked[0].method, wire.asked[0].path) == ("POST", "/v1/voice-notes")
        assert b"OggS-bytes" in body
        assert 'filename="grüße.ogg"'.encode() in body
        assert b'{"chat": "7"}' in body
        assert b"transcription" in body
        assert b'name="word_timestamps"\r\n\r\ntrue\r\n' in body
        assert b"instructions" not in body, "a field that was not given would override the API's choice"
        assert (sent.id, sent.state, sent.is_finished) == (JOB_ID, "queued", False)


@pytest.mark.parametrize("recording", [b"some-bytes", io.BytesIO(b"some-bytes")], ids=["bytes", "file"])
def test_a_note_may_be_bytes_or_an_open_file(recording: bytes | io.BytesIO) -> None:
    with saying(Said.json(job("queued", "stt"), 202)) as (wire, client):
        client.send_note(recording, file_name="call.mp3")
        assert b"some-bytes" in wire.asked[0].body
        assert b'filename="call.mp3"' in wire.asked[0].body


def test_a_text_is_sent_as_json_with_only_the_members_that_were_given() -> None:
    with saying(Said.json(job("queued", "tts"), 202)) as (wire, client):
        client.send_text("Hello.", kind="speech", voice="anna")
        client.send_text("Hello.", kind="reply", reply_schema={"type": "object"})
        assert json.loads(wire.asked[0].body) == {"text": "Hello.", "kind": "speech", "voice": "anna"}
        assert json.loads(wire.asked[1].body) == {"text": "Hello.", "kind": "reply", "reply_schema": {"type": "object"}}


def test_a_submission_carries_its_callers_key_or_one_of_its_own() -> None:
    with saying(Said.json(job("queued", "tts"), 202)) as (wire, client):
        client.send_text("Hello.", idempotency_key="order-7")
        client.send_note(b"some-bytes", idempotency_key="order-8")
        client.send_text("Hello.")
        client.send_text("Hello.")
        sent = [asked.headers["Idempotency-Key"] for asked in wire.asked]
        assert sent[:2] == ["order-7", "order-8"]
        assert len(set(sent)) == 4, "whoever says the same twice means it"
        for none in ("a b", "a\n", "ü"):
            with pytest.raises(ClientError, match="no idempotency key"):
                client.send_text("Hello.", idempotency_key=none)
        assert len(wire.asked) == 4


def test_a_submission_whose_answer_is_lost_is_sent_again_under_the_same_key(tmp_path: Path) -> None:
    """Else nobody could say whether there is a job; and the API may well be starting again meanwhile."""
    lost = Said(202, b"{", missing=1)
    in_use = Said.problem(409, "idempotency-key-in-use", "Come back.", retry_after="1")
    note = tmp_path / "note.ogg"
    note.write_bytes(b"OggS-bytes")
    with saying(lost, in_use, BUSY, Said.json(job("queued", "stt"), 202)) as (wire, client), note.open("rb") as opened:
        assert client.send_note(opened).id == JOB_ID
        assert len({asked.headers["Idempotency-Key"] for asked in wire.asked}) == 1
        assert [asked.body.count(b"OggS-bytes") for asked in wire.asked] == [1, 1, 1, 1], "all of it each time"


def test_a_recording_that_can_be_read_only_once_is_sent_again_whole() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"some-bytes")
    os.close(writing)
    with (
        saying(Said(502, b"<html>"), Said.json(job("queued", "stt"), 202)) as (wire, client),
        open(reading, "rb") as pipe,
    ):
        client.send_note(pipe)
        assert [asked.body.count(b"some-bytes") for asked in wire.asked] == [1, 1]


@pytest.mark.parametrize("said", [BUSY, Said.problem(422, "x", "Wrong."), Said.problem(409, "x", "No.")])
def test_what_the_api_answers_at_first_is_the_answer(said: Said) -> None:
    with saying(said) as (wire, client):
        with pytest.raises(ApiError):
            client.send_text("Hello.")
        assert len(wire.asked) == 1


def test_a_refusal_after_a_lost_answer_is_the_answer() -> None:
    with saying(Said(504, b""), Said.problem(422, "x", "Wrong.")) as (wire, client):
        with pytest.raises(ApiError, match="Wrong"):
            client.send_text("Hello.")
        assert len(wire.asked) == 2


def test_members_that_the_client_does_not_know_are_kept() -> None:
    newer = job(mood="sunny") | {"state": "paused"}
    with saying(Said.json(newer)) as (_, client):
        shown = client.job(JOB_ID)
        assert shown.state == "paused"
        assert shown.model_dump(mode="json")["mood"] == "sunny"


def test_jobs_walks_over_all_pages() -> None:
    def answer(asked: Asked) -> Said:
        page = int(asked.query.get("cursor", "0"))
        jobs = [job(id=f"{page}-{number}") for number in range(2)]
        return Said.json({"jobs": jobs, "next_cursor": str(page + 1) if page < 2 else None})

    with serving(answer) as wire, Client(wire.url) as client:
        assert [it.id for it in client.jobs(state="succeeded", page_size=2)] == [
            "0-0",
            "0-1",
            "1-0",
            "1-1",
            "2-0",
            "2-1",
        ]
    assert wire.asked[1].query == {"state": "succeeded", "limit": "2", "cursor": "1"}


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_waiting_leaves_the_waiting_to_the_server() -> None:
    with saying(Said.json(job())) as (wire, client):
        assert client.wait(JOB_ID).state == "succeeded"
        assert [asked.headers.get("Prefer") for asked in wire.asked] == ["wait=20"]


def test_a_server_that_does_not_wait_is_not_flooded() -> None:
    with saying(Said.json(job("running", "stt"))) as (wire, client):
        with pytest.raises(WaitTimeout):
            client.wait(JOB_ID, timeout=1)
        assert 3 <= len(wire.asked) <= 6


def test_each_change_is_told_once() -> None:
    seen = [("queued", "stt", 0), ("running", "stt", 0), ("running", "stt", 0), ("running", "stt", 20)]
    seen += [("running", "tts", 66), ("succeeded", "tts", 100)]
    told: list[tuple[str, str | None, int | None]] = []
    with saying(*(Said.json(job(state, stage, progress=share)) for state, stage, share in seen)) as (_, client):
        client.wait(JOB_ID, timeout=10, on_change=lambda it: told.append((it.state, it.stage, it.progress)))
    assert told == list(dict.fromkeys(seen))


def test_waiting_outlives_an_api_that_is_overloaded_or_restarts() -> None:
    port = free_port()
    with serving(lambda asked: BUSY, port) as wire:
        late = wire.port
    restarted: list[Wire] = []
    timer = Timer(1.2, lambda: restarted.append(Wire(lambda asked: next(answers), late)))
    answers = script(BUSY, Said.json(job("running", "stt")), Said.json(job()))
    timer.start()
    try:
        with Client(wire.url) as client:
            assert client.wait(JOB_ID, timeout=20).state == "succeeded"
        assert len(restarted[0].asked) == 3, "one 503, one look, one result"
    finally:
        timer.join()
        restarted[0].close()


def test_waiting_ends_when_the_time_is_over_whatever_the_api_does() -> None:
    began = time.monotonic()
    with (
        Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(WaitTimeout, match="did not answer") as nobody,
    ):
        client.wait(JOB_ID, timeout=0.7)
    assert nobody.value.job is None
    assert 0.6 < time.monotonic() - began < 3
    with saying(Said.json(job("running", "llm"))) as (_, client):
        with pytest.raises(WaitTimeout, match="it is running") as unfinished:
            client.wait(JOB_ID, timeout=0.3)
        assert unfinished.value.job is not None
        assert unfinished.value.job.stage == "llm"


def test_waiting_does_not_hang_on_a_server_that_hangs() -> None:
    over = Event()

    def answer(asked: Asked) -> Said:
        over.wait(_WAIT_S)
        return Said.json(job())

    with serving(answer) as wire, Client(wire.url) as client:
        try:
            with pytest.raises(WaitTimeout):
                client.wait(JOB_ID, timeout=1)
        finally:
            over.set()


def test_waiting_for_a_job_that_is_not_there_fails_at_once() -> None:
    with saying(Said.problem(404, "not-found", "There is no job.")) as (wire, client):
        with pytest.raises(ApiError, match=r"There is no job\."):
            client.wait(JOB_ID, timeout=10)
        assert len(wire.asked) == 1


# --- results ----------------------------------------------------------------------------------------------------------


def test_audio_follows_a_redirect_to_the_object_store() -> None:
    def answer(asked: Asked) -> Said:
        if asked.path.endswith("/audio"):
            return Said(307, headers={"Location": "/elsewhere"})
        return Said(body=b"speech")

    with serving(answer) as wire, Client(wire.url) as client:
        assert client.audio(JOB_ID) == b"speech"


def test_saved_audio_is_whole_or_the_file_is_as_it_was(tmp_path: Path) -> None:
    reply = tmp_path / "reply.ogg"
    reply.write_bytes(b"older")
    with saying(Said.problem(409, "result-not-ready", "Not yet."), Said(body=b"speech")) as (_, client):
        with pytest.raises(ApiError, match="Not yet"):
            client.save_audio(JOB_ID, reply)
        assert reply.read_bytes() == b"older"
        assert client.save_audio(JOB_ID, reply) == reply
        assert reply.read_bytes() == b"speech"
    assert list(tmp_path.iterdir()) == [reply]


def test_a_transcript_comes_in_the_format_asked_for() -> None:
    said = Said(body="WEBVTT\n\nüber".encode(), headers={"content-type": "text/vtt; charset=utf-8"})
    with saying(said) as (wire, client):
        assert client.transcript(JOB_ID, "vtt") == "WEBVTT\n\nüber"
        assert wire.asked[0].query == {"format": "vtt"}


def test_cancel_retry_and_delete_reach_the_job() -> None:
    with saying(Said.json(job("canceled", "stt")), Said.json(job("queued", "stt"), 202), Said(204)) as (wire, client):
        assert client.cancel(JOB_ID).state == "canceled"
        assert client.retry(JOB_ID).state == "queued"
        client.delete(JOB_ID)
        path = f"/v1/jobs/{JOB_ID}"
        asked = [(it.method, it.path) for it in wire.asked]
        assert asked == [("POST", f"{path}/cancel"), ("POST", f"{path}/retry"), ("DELETE", path)]


def test_not_ready_is_an_answer_and_no_error() -> None:
    with saying(Said.json(fleet("WARMING_UP"), 503, retry_after="1"), Said.json(fleet()), BUSY) as (wire, client):
        report = client.ready(stage="stt", min_warm=2)
        assert (report.ready, report.state, report.services["stt"].status) == (False, "WARMING_UP", "loading")
        assert wire.asked[0].query == {"stage": "stt", "min_warm": "2"}
        assert client.ready().ready
        with pytest.raises(ApiError, match="The database does not answer"):
            client.ready()


def test_voices_are_listed_all_or_those_of_a_language() -> None:
    anna = {"name": "anna", "language": "de", "engine": "pocket_tts", "model": "m"}
    with saying(Said.json({"voices": [anna]})) as (wire, client):
        assert [voice.model_dump() for voice in client.voices(language="de")] == [anna]
        client.voices()
        assert [(it.path, it.query) for it in wire.asked] == [("/v1/voices", {"language": "de"}), ("/v1/voices", {})]


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_problem_document_becomes_an_error_with_its_members() -> None:
    problem = {"type": "urn:x", "title": "Wrong", "detail": "Too long.", "errors": [{"field": "text"}], "status": 422}
    with saying(Said.json(problem, 422, retry_after="7")) as (_, client), pytest.raises(ApiError) as refused:
        client.send_text("x")
    error = refused.value
    assert (error.status, error.type, error.title, error.detail) == (422, "urn:x", "Wrong", "Too long.")
    assert (error.retry_after, error.extra) == (7, {"errors": [{"field": "text"}]})
    assert str(error) == "Too long."


@pytest.mark.parametrize(
    "said", [Said(502, b"<html>"), Said(200, b"<html>"), Said(200, b'{"id": 1}'), Said(500, b"[]")]
)
def test_another_server_at_the_address_is_named(said: Said) -> None:
    with saying(said) as (wire, client):
        with pytest.raises(ApiError, match=rf"Is {wire.url} the address of a Voxqueue API") as refused:
            client.job(JOB_ID)
        assert refused.value.status == said.status


def test_nobody_at_the_address_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("VOXQUEUE_URL", url + "/")
    with Client() as client, pytest.raises(ServerUnreachable, match=rf"at {url} .*voxqueue up.*VOXQUEUE_URL"):
        client.ready()


def test_a_proxy_in_the_environment_does_not_stand_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with saying(Said.json(job())) as (_, client):
        assert client.job(JOB_ID).state == "succeeded"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://host:port"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="is no address"):
        Client(url)


@pytest.mark.parametrize("job_id", ["", "..", "a/b", "a?b", "a%2fb", "ä"])
def test_what_is_no_id_never_becomes_part_of_an_address(job_id: str) -> None:
    with saying(Said(204)) as (wire, client):
        with pytest.raises(ClientError, match="is no job id"):
            client.delete(job_id)
        assert wire.asked == []


def test_a_failed_job_raises_only_when_asked() -> None:
    with saying(Said.json(job("failed", "llm")), Said.json(job("canceled", "llm")), Said.json(job())) as (_, client):
        with pytest.raises(JobFailed, match=rf"{JOB_ID} failed at llm: It broke\.") as failed:
            client.wait(JOB_ID).raise_for_state()
        assert failed.value.job.error is not None
        with pytest.raises(JobFailed, match="was canceled"):
            client.job(JOB_ID).raise_for_state()
        fine = client.job(JOB_ID)
        assert fine.raise_for_state() is fine
        assert isinstance(fine, Job)
