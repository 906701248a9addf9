"""Requests as traces and logs show them: under their route's name, in their caller's trace, without their query."""

import json
import signal
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from tests.collector import Sent, collecting
from tests.integration.conftest import api_process
from voxqueue.database.session import Sessions
from voxqueue.jobs.models import Job
from voxqueue.settings import Settings

pytestmark = pytest.mark.integration

_CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_UNSAMPLED = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
_TEXT = {"text": "Hello.", "kind": "reply"}


@dataclass
class Seen:
    """What an API has told by the time it was ended by SIGTERM, and the traces that its jobs are kept with."""

    spans: list[Sent] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, str | None] = field(default_factory=dict)

    def requests(self) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["logger"] == "uvicorn.access"]


@pytest.fixture(scope="module")
def seen(_sessions: Sessions, api_settings: Settings) -> Seen:
    seen = Seen()
    with collecting() as collector, pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in collector.env.items():
            monkeypatch.setenv(name, value)
        with api_process(api_settings) as (url, process), httpx.Client(base_url=url) as client:
            submitted = {}
            for name, sent in (("alone", None), ("joined", _CALLER), ("unsampled", _UNSAMPLED), ("odd", "00-0-0-0")):
                headers = {} if sent is None else {"traceparent": sent}
                submitted[name] = client.post("/v1/texts", json=_TEXT, headers=headers).raise_for_status().json()["id"]
            client.get("/v1/jobs", params={"limit": 3, "cursor": "a-secret"})
            client.get("/api/ready")
            process.send_signal(signal.SIGTERM)
            _, log = process.communicate(timeout=30)
        seen.lines = [json.loads(line) for line in log.decode().splitlines() if line.startswith("{")]
        seen.spans = list(collector.spans)
    with _sessions() as session:
        kept = {str(job.id): job.traceparent for job in session.scalars(select(Job)).unique()}
    seen.kept = {name: kept[job_id] for name, job_id in submitted.items()}
    return seen


def test_a_request_is_a_span_under_the_name_of_its_route(seen: Seen) -> None:
    assert [span.name for span in seen.spans] == ["POST /v1/texts"] * 3 + ["GET /v1/jobs"], "polling is not traced"
    assert {(span.service, span.kind) for span in seen.spans} == {("voxqueue-api", "SERVER")}
    assert "a-secret" not in repr(seen.spans)


def test_a_job_is_kept_with_the_span_that_it_was_submitted_in(seen: Seen) -> None:
    alone, joined, odd, _ = seen.spans
    assert seen.kept["alone"] == f"00-{alone.trace}-{alone.id}-03", "recorded, and its id is random"
    assert alone.parent == ""
    assert seen.kept["joined"] == f"00-{joined.trace}-{joined.id}-01"
    assert f"00-{joined.trace}-{joined.parent}-01" == _CALLER, "the caller's trace goes on"
    assert seen.kept["odd"] == f"00-{odd.trace}-{odd.id}-03", "what cannot be read is as if it were not there"
    unsampled = seen.kept["unsampled"]
    assert unsampled is not None
    assert (unsampled[:35], unsampled[-3:]) == (_UNSAMPLED[:35], "-00"), "who is not to be recorded, is not"


def test_the_line_about_a_request_has_no_query_and_leads_to_its_trace(seen: Seen) -> None:
    [listed] = [line for line in seen.requests() if line["path"] == "/v1/jobs"]
    trace = seen.spans[-1].trace
    assert (listed["event"], listed["trace_id"]) == ("GET /v1/jobs 422", trace)
    assert (listed["method"], listed["status"], listed["client"][:10]) == ("GET", 422, "127.0.0.1:")
    assert "a-secret" not in repr(seen.lines)
    assert all("trace_id" not in line for line in seen.requests() if line["path"] == "/api/ready")
