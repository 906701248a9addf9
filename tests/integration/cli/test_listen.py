"""``voxqueue webhooks listen`` as a process: the receiver on this machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.command import ROOT, one_line, voxqueue
from tests.wire import JOB_ID, Asked, Said, serving
from voxqueue.embedded.processes import free_port

pytestmark = pytest.mark.integration

SECRET = "whsec_dGhlIHNlY3JldCBvZiBhIHRlc3QsIG5vdCBvZiBhbnlib2R5"
OTHER = "whsec_YW5vdGhlciBzZWNyZXQgb2YgYSB0ZXN0LCBub3Qgb2YgYW55"
EVENT = {
    "type": "job.succeeded",
    "timestamp": "2026-11-21T09:30:00Z",
    "sequence": 42,
    "data": {"job_id": JOB_ID, "metadata": {"word": "Grüße"}},
}


class Listening:
    """A receiver that runs: its address, and its lines."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stderr is not None
        self.url = process.stderr.readline().split()[2]

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def received(self) -> dict[str, Any]:
        received: dict[str, Any] = json.loads(self.line())
        return received

    def interrupt(self) -> tuple[int, str, str]:
        """Ctrl-C; returns the status, and what else came on standard output and standard error."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(timeout=20)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        return status, self.process.stdout.read(), self.process.stderr.read()


@contextmanager
def listening(*words: str, **env: str) -> Iterator[Listening]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VOXQUEUE_")}
    argv = [sys.executable, "-m", "voxqueue", "webhooks", "listen", "--port", "0", *words]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**ours, **env}
    ) as process:
        try:
            yield Listening(process)
        finally:
            process.kill()


def delivered(url: str, *secrets: str, at: datetime | None = None, body: bytes | None = None) -> httpx.Response:
    """POST an event as a courier does, signed with these secrets. A body takes the place of the one that was signed."""
    signed = json.dumps(EVENT).encode()
    at = at or datetime.now(UTC)
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign("evt_1", at, signed.decode()) for secret in secrets),
        "content-type": "application/json",
    }
    return httpx.post(url, content=signed if body is None else body, headers=headers, trust_env=False, timeout=20)


def test_a_delivery_is_printed_on_one_line() -> None:
    with listening("--secret", SECRET) as it:
        assert delivered(it.url, OTHER, SECRET).status_code == 204
        line = it.line()
        for word in ("job.succeeded", JOB_ID, "sequence 42", "  verified\n"):
            assert word in line
        status, out, err = it.interrupt()
        assert (status, out) == (0, ""), "Ctrl-C is no failure"
        assert "Traceback" not in err


def test_what_is_not_signed_by_a_known_secret_is_answered_with_401() -> None:
    late = datetime.now(UTC) - timedelta(hours=1)
    with listening("--json", VOXQUEUE_WEBHOOK_SECRET=SECRET) as it:
        for answer in (
            delivered(it.url, OTHER),
            delivered(it.url, SECRET, at=late),
            delivered(it.url, SECRET, body=b'{"type": "job.failed"}'),
            delivered(it.url, SECRET, body=b"\xff\xfe"),
            httpx.post(it.url, content=b"{}", trust_env=False),
            httpx.post(
                it.url,
                content=b"{}",
                headers={"webhook-id": "1", "webhook-timestamp": "x", "webhook-signature": "y"},
                trust_env=False,
            ),
        ):
            received = it.received()
            assert (answer.status_code, received["answered"], received["verified"]) == (401, 401, False)
            assert received["why_not"]
            assert answer.text == f"Not verified: {received['why_not']}", "it is what the delivery's attempt shows"
        assert delivered(it.url, SECRET).status_code == 204, "it goes on listening"
        received = it.received()
        assert (received["verified"], received["why_not"], received["body"]) == (True, None, EVENT)
        assert (received["id"], received["type"], received["job_id"], received["sequence"]) == (
            "evt_1",
            "job.succeeded",
            JOB_ID,
            42,
        )


def test_without_a_secret_nothing_is_verified_and_that_is_said() -> None:
    with listening() as it:
        assert delivered(it.url, SECRET).status_code == 204
        assert "not verified: no secret given" in it.line()
        for body in (b"no json", b"[]", b'{"type": 7, "sequence": "x", "data": []}', b'{"type": "a\\u001b[2Jb\\nc"}'):
            assert delivered(it.url, SECRET, body=body).status_code == 204
            line = it.line()
            assert "no job" in line
            assert "\x1b" not in line, "what others write must not steer a terminal"
        assert httpx.get(it.url, trust_env=False).status_code == 405
        assert httpx.post(it.url, content=iter([b"{}"]), trust_env=False).status_code == 411, "of no known length"
        _, out, err = it.interrupt()
        assert out == ""
        assert "--secret" in err
        port = it.url.rstrip("/").rpartition(":")[2]
        for setting in (
            "VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS=127.0.0.0/8\n",
            "VOXQUEUE_WEBHOOKS_ALLOW_HTTP=true\n",
            f"VOXQUEUE_WEBHOOKS_PORTS=443,80,8443,8080,{port}\n",
        ):
            assert f"export {setting}" in err


def test_what_is_forwarded_arrives_as_it_came_and_its_answer_counts() -> None:
    def answer(asked: Asked) -> Said:
        return Said(418 if asked.path == "/app" else 404)

    with serving(answer) as wire, listening("--secret", SECRET, "--forward", f"{wire.url}/app", "--json") as it:
        assert delivered(it.url, SECRET).status_code == 418
        assert it.received()["answered"] == 418
        Webhook(SECRET).verify(wire.asked[0].body, dict(wire.asked[0].headers))
        assert wire.asked[0].headers["content-type"] == "application/json"
        assert delivered(it.url, OTHER).status_code == 401
        assert len(wire.asked) == 1, "what is not signed goes no further"


def test_nobody_to_forward_to_is_a_502() -> None:
    with listening("--forward", f"http://127.0.0.1:{free_port()}/") as it:
        assert delivered(it.url, SECRET).status_code == 502
        assert "answered 502" in it.line()


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!", "x"])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    ran = voxqueue("webhooks", "listen", "--port", "0", "--secret", secret)
    assert ran.returncode == 2
    assert "whsec_" in ran.stderr


def test_a_port_that_is_taken_is_one_line() -> None:
    with serving(lambda _: Said()) as wire:
        ran = voxqueue("webhooks", "listen", "--port", str(wire.port))
        assert ran.returncode == 1
        assert "--port" in one_line(ran.stderr)
