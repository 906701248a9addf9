"""Runs an API as it is installed, with real servers behind it, and sends it what is hostile."""

import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from uuid import UUID

import httpx
import psutil
import psycopg
from sqlalchemy import text

from api.app import create_app
from tests.fault.hostile import handmade, handmade_forms, handmade_wire
from tests.fault.hostile.described import Description, operations, play
from tests.fault.hostile.handmade import NOTE, Hand, Things
from tests.fault.hostile.judging import faults, log_faults, row_faults
from tests.fault.hostile.shots import Shot, fire
from tests.keys import make_key
from tests.moves import RESULTS, claim, done, move
from voxqueue.database.migrate import upgrade
from voxqueue.database.session import Sessions, open_engine, open_sessions
from voxqueue.embedded import embedded_postgres, embedded_redis
from voxqueue.embedded.processes import free_port
from voxqueue.jobs import lifecycle
from voxqueue.jobs.blobs import speech_key
from voxqueue.settings import DatabaseSettings, Settings
from voxqueue.stages import Stage
from voxqueue.urls import for_psql

Keys = Literal["open", "required"]

_FAMILIES = (
    handmade.headers, handmade.fields_with_a_meaning, handmade.paths, handmade.json_bodies, handmade_forms.forms,
    handmade_wire.lengths, handmade_wire.no_http, handmade.uploads,
)  # fmt: skip
_ENV = {
    "VOXQUEUE_LIMITS_REQUESTS": "100000000/hour",
    "VOXQUEUE_LIMITS_OPEN_JOBS": "1000000",
    "VOXQUEUE_LIMITS_QUEUED_JOBS": "1000000",
    "VOXQUEUE_LIMITS_UPLOAD_BYTES": "2000000",
    "VOXQUEUE_LIMITS_WAIT_SECONDS": "0",
    "VOXQUEUE_S3_BUCKET": "",
    "VOXQUEUE_LOG_FORMAT": "json",
}
_SHARE = 0.5  # of the requests that are made by hand
_EXAMPLES = 40  # of one operation, before the next one has its turn
_PLANTED_FOR = 300  # requests; then things are made anew, since some of these will have removed them
_MORE_FILES = 50
_START_S = 60.0
_SEED = 4_711


@dataclass(slots=True)
class Outcome:
    """What came of it. `findings` are invariants that did not hold; `grew_mb` is how much more memory the API holds."""

    statuses: Counter[str] = field(default_factory=Counter)
    families: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    grew_mb: float = 0.0

    @property
    def requests(self) -> int:
        return self.families.total()


@contextmanager
def api_process(env: dict[str, str], log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The API on a port of its own, all that it says in a file."""
    port = free_port()
    command = [sys.executable, "-m", "voxqueue", "api", "--port", str(port)]
    with log.open("wb") as out, subprocess.Popen(command, env={**os.environ, **env}, stdout=out, stderr=out) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _await(url, process)
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            httpx.get(f"{url}/livez").raise_for_status()
            return
        time.sleep(0.1)
    raise AssertionError("the API did not start")


class Attack:
    """One API under fire."""

    def __init__(self, url: str, api: psutil.Process, sessions: Sessions, blobs: Path, tenant_key: str | None) -> None:
        self.outcome = Outcome()
        self.accepted: set[str] = set()
        self.deleted: set[str] = set()
        self.told: set[str] = set()
        self._sessions, self._blobs, self._process = sessions, blobs, api
        self._address = ("127.0.0.1", int(url.rpartition(":")[2]))
        auth = () if tenant_key is None else (("Authorization", f"Bearer {tenant_key}"),)
        self.client = httpx.Client(base_url=url, headers=auth, timeout=30)
        self._auth = auth
        self._things: Things = {}
        self._planted_at = -_PLANTED_FOR

    def hand(self) -> Hand:
        """What to make the next request with."""
        if self.outcome.requests - self._planted_at >= _PLANTED_FOR:
            self._things = self._plant()
            self._planted_at = self.outcome.requests
        return Hand(self._auth, self._things)

    def send(self, shot: Shot) -> None:
        """Send one request, look at the answer, and remember what it promises."""
        began = time.monotonic()
        try:
            answer = fire(self._address, shot)
        except TimeoutError:
            self.outcome.findings.append(f"{shot}: no answer in time")
            return
        self.outcome.slowest = max(self.outcome.slowest, (time.monotonic() - began, str(shot)))
        self.outcome.families[shot.family] += 1
        self.outcome.statuses["none" if answer is None else str(answer.status)] += 1
        self.outcome.findings += [f"{shot}: {fault}" for fault in faults(shot, answer)]
        self.told.update(shot.told)
        if answer is None:
            return
        path = shot.target.partition("?")[0]
        if answer.status == 202 and path in ("/v1/texts", "/v1/voice-notes"):
            self.accepted.add(json.loads(answer.body)["id"])
        if answer.status == 204 and path.startswith("/v1/jobs/"):
            self.deleted.add(path.removeprefix("/v1/jobs/").lower())

    def is_well(self) -> None:
        """Raise unless the API takes honest work, in the same process as before."""
        self._submit("transcription")
        self._submit("reply")
        assert self._process.is_running()

    def _submit(self, kind: str) -> str:
        if kind == "transcription":
            answer = self.client.post("/v1/voice-notes", files={"file": NOTE}, data={"kind": kind})
        else:
            answer = self.client.post("/v1/texts", json={"text": "Good morning.", "kind": kind})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        self.accepted.add(job_id)
        return job_id

    def _plant(self) -> Things:
        """Jobs in every state, an endpoint and a delivery."""
        listed = self.client.get("/v1/webhooks/endpoints").raise_for_status().json()["endpoints"]
        for endpoint in listed:
            self.client.delete(f"/v1/webhooks/endpoints/{endpoint['id']}").raise_for_status()
        made = self.client.post("/v1/webhooks/endpoints", json={"url": "https://hooks.example.com/"}).raise_for_status()
        endpoint_id = made.json()["id"]
        owed = self.client.post(f"/v1/webhooks/endpoints/{endpoint_id}/test").raise_for_status()
        queued, running, canceled, spoken, heard = map(
            self._submit, ("reply", "reply", "speech", "speech", "transcription")
        )
        claim(self._sessions, running)
        self.client.post(f"/v1/jobs/{canceled}/cancel").raise_for_status()
        self._finish(spoken, Stage.TTS)
        self._finish(heard, Stage.STT)
        return {
            "job_id": [queued, running, canceled, spoken, heard],
            "endpoint_id": [endpoint_id],
            "delivery_id": [owed.json()["id"]],
            "spoken": [spoken],
            "heard": [heard],
        }

    def _finish(self, job_id: str, stage: Stage) -> None:
        """Have a job of one stage succeed; its speech is a file of ten bytes."""
        attempt = claim(self._sessions, job_id)
        result = dict(RESULTS[stage])
        if stage is Stage.TTS:
            result["key"] = speech_key(UUID(job_id), attempt, "ogg")
            path = self._blobs / result["key"]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(range(10)))
        move(self._sessions, lifecycle.succeed(UUID(job_id), attempt, done(stage, result), ()))


def run(requests: int, say: Callable[[str], None] = lambda _: None) -> dict[Keys, Outcome]:
    """Send that many requests, half of them to an API that is open and half to one that asks for keys."""
    outcomes: dict[Keys, Outcome] = {}
    with ExitStack() as held:
        folder = Path(held.enter_context(TemporaryDirectory(prefix="voxqueue-hostile-")))
        (folder / "redis").mkdir()
        database_url = held.enter_context(embedded_postgres(folder / "postgres", durable=False))
        redis_url = held.enter_context(embedded_redis(folder / "redis", durable=False))
        upgrade(database_url)
        engine = open_engine(DatabaseSettings(url=database_url))
        held.callback(engine.dispose)
        sessions = open_sessions(engine)
        for keys in ("open", "required"):
            blobs = folder / f"blobs-{keys}"
            blobs.mkdir()
            env = {**_ENV, "VOXQUEUE_DATABASE_URL": database_url, "VOXQUEUE_REDIS_URL": redis_url}
            env |= {"VOXQUEUE_STORAGE_DIR": str(blobs), "VOXQUEUE_API_KEYS": keys}
            _empty(sessions)
            key = str(make_key(sessions)) if keys == "required" else None
            log = folder / f"{keys}.log"
            with api_process(env, log) as (url, process):
                attack = Attack(url, process, sessions, blobs, key)
                _attack(attack, requests // 2, process, say)
                attack.client.close()
                with psycopg.connect(for_psql(database_url)) as database:
                    attack.outcome.findings += row_faults(database, blobs, attack.accepted, attack.deleted)
            said = log.read_text("utf-8", "replace")
            attack.outcome.findings += log_faults(said, [key] if key else [], attack.told)
            outcomes[keys] = attack.outcome
    return outcomes


def _empty(sessions: Sessions) -> None:
    """Remove what the run before has made: its blobs were elsewhere."""
    with sessions.begin() as session:
        session.execute(text("TRUNCATE jobs, notes, doomed_blobs, webhook_endpoints, signing_secrets, events CASCADE"))


def _attack(attack: Attack, requests: int, process: psutil.Process, say: Callable[[str], None]) -> None:
    description: Description = create_app(Settings()).openapi()
    attack.hand()
    attack.is_well()
    memory, files = process.memory_info().rss, process.num_fds()
    by_hand = sum(1 for make in _FAMILIES for _ in make(attack.hand()))
    step = max(1, round(by_hand / (_SHARE * requests)))
    say(f"{by_hand} requests are made by hand; one in {step} of them is sent")
    for make in _FAMILIES:
        for number, shot in enumerate(make(attack.hand())):
            if number % step == 0:
                attack.send(shot)
        attack.is_well()
    described, seed = operations(description), _SEED
    while attack.outcome.requests < requests:
        number = min(_EXAMPLES, math.ceil((requests - attack.outcome.requests) / len(described)))
        for operation in described:
            play(description, operation, attack.hand, attack.send, number=number, run=seed)
        attack.is_well()
        seed += 1
    attack.outcome.grew_mb = (process.memory_info().rss - memory) / 1e6
    if process.num_fds() > files + _MORE_FILES:
        attack.outcome.findings.append(f"the API holds {process.num_fds()} open files, {files} before")
