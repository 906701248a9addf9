"""API keys over HTTP: who is let in, what they may do, and what is said to the others."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import event, select, update

from api.auth import KnownKeys
from tests.integration.conftest import serving
from tests.keys import TEXT, bearer, first_line, make_key, refused
from voxqueue.client import ApiError, Client
from voxqueue.database.session import Sessions
from voxqueue.errors import Unauthorized
from voxqueue.jobs.models import Job
from voxqueue.keys import repository
from voxqueue.keys.caller import Scope
from voxqueue.keys.keys import Key
from voxqueue.keys.models import ApiKey
from voxqueue.settings import ApiSettings, DatabaseSettings, Settings

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def keyed_settings(api_settings: Settings) -> Settings:
    """An API that asks for keys."""
    return api_settings.model_copy(update={"api": ApiSettings(keys="required")})


@pytest.fixture(scope="module")
def keyed_url(keyed_settings: Settings) -> Iterator[str]:
    with serving(keyed_settings) as url:
        yield url


@pytest.fixture
def keyed(keyed_url: str, sessions: Sessions) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=keyed_url, timeout=20) as client:
        yield client


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_a_key_opens_the_api_and_its_jobs_are_its_tenants(keyed: httpx.Client, sessions: Sessions) -> None:
    key = make_key(sessions, tenant="bakery")
    answer = keyed.post("/v1/texts", json=TEXT, headers=bearer(key))
    assert answer.status_code == 202, answer.text
    assert keyed.get(answer.headers["location"], headers=bearer(key)).status_code == 200
    with sessions() as session:
        job = session.get_one(Job, UUID(answer.json()["id"]))
    assert (job.tenant, job.api_key) == ("bakery", key.id)


def test_the_word_bearer_may_be_written_as_one_likes(keyed: httpx.Client, sessions: Sessions) -> None:
    key = make_key(sessions)
    for scheme in ("bearer", "BEARER", "Bearer  "):
        assert keyed.get("/v1/jobs", headers={"Authorization": f"{scheme} {key}"}).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": f"Bearer {Key('A' * 12, 'b' * 32)}"},
        {"Authorization": "Basic dnE6eA=="},
        {"Authorization": b"Bearer vq_\xff\xfe"},
        {"X-Api-Key": str(Key("A" * 12, "b" * 32))},
    ],
)
def test_without_a_key_that_counts_nobody_is_let_in(keyed: httpx.Client, sent: dict[str, str]) -> None:
    detail = refused(keyed.get("/v1/jobs", headers=sent), 401, "unauthorized")
    assert "voxqueue keys create" in detail
    refused(keyed.post("/v1/texts", json=TEXT, headers=sent), 401, "unauthorized")


def test_a_key_in_the_address_is_no_key(keyed: httpx.Client, sessions: Sessions) -> None:
    """Addresses end up in logs."""
    key = make_key(sessions)
    refused(keyed.get("/v1/jobs", params={"api_key": str(key), "access_token": str(key)}), 401, "unauthorized")


def test_why_a_key_does_not_count_is_told_only_to_its_owner(keyed: httpx.Client, sessions: Sessions) -> None:
    """Else a stranger could find out which keys there are."""
    expired, revoked, valid = make_key(sessions, days=1), make_key(sessions), make_key(sessions)
    with sessions.begin() as session:
        past = datetime.now(UTC) - timedelta(hours=1)
        session.execute(update(ApiKey).where(ApiKey.id == expired.id).values(expires_at=past))
        assert repository.revoke(session, revoked.id)
    assert "is expired" in refused(keyed.get("/v1/jobs", headers=bearer(expired)), 401, "unauthorized")
    assert "is revoked" in refused(keyed.get("/v1/jobs", headers=bearer(revoked)), 401, "unauthorized")
    guesses = [Key(key.id, "x" * 32) for key in (expired, revoked, valid)] + [Key.new()]
    answers = {refused(keyed.get("/v1/jobs", headers=bearer(guess)), 401, "unauthorized") for guess in guesses}
    assert len(answers) == 1


def test_a_revoked_key_stops_working_in_running_processes(keyed: httpx.Client, sessions: Sessions) -> None:
    assert KnownKeys.FRESH_S < 5, "the documentation promises five seconds"
    key = make_key(sessions)
    assert keyed.get("/v1/jobs", headers=bearer(key)).status_code == 200
    with sessions.begin() as session:
        assert repository.revoke(session, key.id)
    give_up = time.monotonic() + 60
    while (answer := keyed.get("/v1/jobs", headers=bearer(key))).status_code == 200 and time.monotonic() < give_up:
        time.sleep(0.1)
    assert "is revoked" in refused(answer, 401, "unauthorized")


def test_a_database_that_is_away_is_503_not_401(keyed_settings: Settings) -> None:
    """A client that is told 401 would throw its key away."""
    away = keyed_settings.model_copy(update={"database": DatabaseSettings(url="postgresql://127.0.0.1:9/none")})
    with serving(away) as url:
        answer = httpx.get(f"{url}/v1/jobs", headers=bearer(Key.new()), timeout=20)
        refused(answer, 503, "database-unavailable")
        refused(httpx.get(f"{url}/v1/jobs", timeout=20), 401, "unauthorized")


# --- what they may do -------------------------------------------------------------------------------------------------


def test_a_key_does_what_its_scopes_allow_and_is_told_which_one_lacks(keyed: httpx.Client, sessions: Sessions) -> None:
    reader, writer = make_key(sessions, Scope.JOBS_READ), make_key(sessions, Scope.JOBS_WRITE)
    job = keyed.post("/v1/texts", json=TEXT, headers=bearer(writer)).headers["location"]
    assert keyed.get(job, headers=bearer(reader)).status_code == 200
    assert "jobs:read" in refused(keyed.get(job, headers=bearer(writer)), 403, "forbidden")
    for method, path in (("POST", "/v1/texts"), ("POST", f"{job}/cancel"), ("DELETE", job)):
        answer = keyed.request(method, path, headers=bearer(reader))
        assert "jobs:write" in refused(answer, 403, "forbidden")
        assert answer.json()["scope"] == "jobs:write"
        assert "`voxqueue keys create --name NAME --scope jobs:write`" in answer.json()["detail"]
    admin = make_key(sessions, Scope.ADMIN)
    assert keyed.post(f"{job}/cancel", headers=bearer(admin)).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/ready", "/docs", "/openapi.json"])
def test_probes_and_documentation_need_no_key(keyed: httpx.Client, path: str) -> None:
    assert keyed.get(path).status_code in (200, 503)


@pytest.mark.parametrize("path", ["/v1/nothing", "/livez/", "/docs/oauth2-redirect", "/v1/jobs/"])
def test_strangers_do_not_learn_what_there_is(keyed: httpx.Client, sessions: Sessions, path: str) -> None:
    refused(keyed.get(path), 401, "unauthorized")
    refused(keyed.get(path, headers=bearer(make_key(sessions))), 404, "not-found")


def test_a_wrong_method_is_told_to_who_has_a_key(keyed: httpx.Client, sessions: Sessions) -> None:
    refused(keyed.put("/v1/jobs"), 401, "unauthorized")
    assert keyed.put("/v1/jobs", headers=bearer(make_key(sessions))).status_code == 405


def test_who_may_not_is_told_so_before_sending_the_upload(keyed: httpx.Client, sessions: Sessions) -> None:
    """A client that asks first by `Expect: 100-continue` is asked for the body only if it may send one."""
    may_not, may = make_key(sessions, Scope.JOBS_READ), make_key(sessions, Scope.JOBS_WRITE)
    assert first_line(keyed, "Bearer nonsense") == "HTTP/1.1 401 Unauthorized"
    assert first_line(keyed, f"Bearer {may_not}") == "HTTP/1.1 403 Forbidden"
    assert first_line(keyed, f"Bearer {may}") == "HTTP/1.1 100 Continue"


# --- what it costs, and what is left behind ---------------------------------------------------------------------------


def test_a_key_is_looked_up_once_and_its_use_noted_once_a_minute(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KnownKeys, "FRESH_S", 600)
    key, said = make_key(sessions), []
    with sessions() as session:
        engine = session.get_bind()

    def listen(*it: Any) -> None:
        said.append(it[2].split()[0])

    event.listen(engine, "before_cursor_execute", listen)
    known = KnownKeys(sessions)
    for _ in range(10):
        assert known.caller(str(key)).key_id == key.id
    for _ in range(10):
        with pytest.raises(Unauthorized):
            known.caller(str(Key("unknown00000", "x" * 32)))
    event.remove(engine, "before_cursor_execute", listen)
    assert said == ["SELECT", "UPDATE", "SELECT"], "one more round trip for each request would slow it down"
    first = _last_used(sessions, key)
    assert first is not None
    KnownKeys(sessions).caller(str(key))  # another process
    assert _last_used(sessions, key) == first
    with sessions.begin() as session:
        session.execute(update(ApiKey).values(last_used_at=first - timedelta(minutes=2)))
    KnownKeys(sessions).caller(str(key))
    latest = _last_used(sessions, key)
    assert latest is not None
    assert latest > first - timedelta(minutes=2)


def test_guessing_does_not_count_as_use(sessions: Sessions) -> None:
    key = make_key(sessions)
    with pytest.raises(Unauthorized):
        KnownKeys(sessions).caller(str(Key(key.id, "x" * 32)))
    assert _last_used(sessions, key) is None


def _last_used(sessions: Sessions, key: Key) -> datetime | None:
    with sessions() as session:
        return session.scalar(select(ApiKey.last_used_at).where(ApiKey.id == key.id))


def test_no_key_is_ever_logged_or_stored(
    keyed: httpx.Client, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key, wrong = make_key(sessions), Key.new()
    assert keyed.get("/v1/jobs", headers=bearer(key)).status_code == 200
    for sent in (bearer(wrong), bearer(Key(key.id, wrong.secret)), {"Authorization": f"Basic {key.secret}"}):
        answer = keyed.get("/v1/jobs", headers=sent)
        assert key.secret not in answer.text
        assert wrong.secret not in answer.text
    assert caplog.records
    assert key.secret not in caplog.text
    assert wrong.secret not in caplog.text
    with sessions() as session:
        stored = session.get_one(ApiKey, key.id)
        assert key.secret not in str({column.name: getattr(stored, column.name) for column in ApiKey.__table__.c})


# --- the client -------------------------------------------------------------------------------------------------------


def test_the_client_sends_its_key(keyed: httpx.Client, sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    url, key = str(keyed.base_url), make_key(sessions)
    with Client(url, api_key=str(key)) as client:
        assert client.job(client.send_text("Hello.", kind="reply").id).state == "queued"
    with Client(url) as client, pytest.raises(ApiError, match="API key is needed") as caught:
        client.send_text("Hello.")
    assert caught.value.status == 401
    monkeypatch.setenv("VOXQUEUE_API_KEY", str(key))
    with Client(url) as client:
        assert len(list(client.jobs())) == 1
