"""An HTTP server that says what a test wants the API to say, and remembers what it was asked."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

JOB_ID = "01a1fbc7-1769-7397-bca1-f96c9a1a3dff"
STAGES = ("stt", "llm", "tts")


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Said:
    """One answer. Of the `missing` bytes at the end of the length that it promises, only what is in `late` comes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    late: Iterable[bytes] = ()

    @classmethod
    def json(cls, value: object, status: int = 200, **headers: str) -> "Said":
        return cls(status, json.dumps(value).encode(), {"content-type": "application/json", **headers})

    @classmethod
    def problem(cls, status: int, code: str, detail: str, **headers: str) -> "Said":
        members = {"type": f"urn:voxqueue:problem:{code}", "title": code, "status": status, "detail": detail}
        return cls(status, json.dumps(members).encode(), {"content-type": "application/problem+json", **headers})


Answer = Callable[[Asked], Said]


class _Server(ThreadingHTTPServer):
    """Knows the connections that are open."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self.connections: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)


class Wire:
    """A running server: `url`, and all it was `asked`, in order."""

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self.asked: list[Asked] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:
                    self.close_connection = True

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                body = self._body()
                asked.append(Asked(self.command, parts.path, query, dict(self.headers.items()), body))
                said = answer(asked[-1])
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(said.body) + said.missing))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else said.body)
                self.wfile.writelines(said.late)
                if said.missing:
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - the names that http.server looks for

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline(), 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's own name
                """Say nothing."""

        self._server = _Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for connection in list(self._server.connections):  # what a client has kept open for its next request
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(answer: Answer, port: int = 0) -> Iterator[Wire]:
    """A server until the block ends."""
    wire = Wire(answer, port)
    try:
        yield wire
    finally:
        wire.close()


def job(state: str = "succeeded", stage: str = "tts", **members: Any) -> dict[str, Any]:
    """A voice note's job as the API shows it, standing at a stage."""
    done = STAGES if state == "succeeded" else STAGES[: STAGES.index(stage)]
    states = {name: "succeeded" if name in done else "pending" for name in STAGES}
    if state in ("running", "failed"):
        states[stage] = state
    return {
        "id": JOB_ID,
        "kind": "voice_note",
        "state": state,
        "stage": stage,
        "progress": 100 * len(done) // 3,
        "created_at": "2026-11-21T01:44:51.299608Z",
        "note": {"file_name": "note.ogg", "media_type": "audio/ogg", "seconds": 3.4, "size": 21554},
        "text": None,
        "stages": [{"stage": name, "state": states[name], "engine": "fake", "run_ms": 7.6} for name in STAGES],
        "transcript": {"text": "good morning", "language": "en", "audio_seconds": 3.4, "segments": []},
        "reply": {"text": "good morning to you"},
        "audio": {"seconds": 3.5, "format": "ogg", "media_type": "audio/ogg", "size": 5} if "tts" in done else None,
        "error": {"type": "x", "title": "The engine failed", "detail": "It broke.", "stage": stage}
        if state == "failed"
        else None,
        "links": {"audio": f"/v1/jobs/{JOB_ID}/audio"},
        **members,
    }


def fleet(state: str = "READY") -> dict[str, Any]:
    """The readiness report of a fleet in this state."""
    ready = state == "READY"
    service = {"ready": ready, "status": "ready" if ready else "loading", "critical": True, "engine": "fake"}
    return {
        "ready": ready,
        "state": state,
        "progress": 100 if ready else 40,
        "degraded": False,
        "degraded_reasons": [],
        "services": dict.fromkeys(STAGES, service),
        "workers": {"total": 1, "warm": int(ready), "warming": 0, "failed": 0, "by_stage": {}},
        "queues": None,
        "startup_time_ms": None,
        "errors": ["stt: no model"] if state == "ERROR" else [],
    }
