"""``voxqueue webhooks listen``: a receiver on this machine that prints and verifies what is delivered to it."""

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

import typer

from voxqueue.cli.console import complain, plain, remark

_LOOPBACK = "127.0.0.1"
_MOST_BYTES = 1_048_576
_FORWARD_S = 15.0
_SIGNED = ("webhook-id", "webhook-timestamp", "webhook-signature")
_PASSED_ON = (*_SIGNED, "content-type", "user-agent")


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery. `verified` is None where no secret is known; `answered` is the status that we gave back."""

    received_at: str
    id: str | None
    type: str | None
    job_id: str | None
    sequence: int | None
    verified: bool | None
    why_not: str | None
    answered: int
    body: Any

    def line(self) -> str:
        if self.verified is None:
            checked = "not verified: no secret given"
        else:
            checked = "verified" if self.verified else f"NOT VERIFIED: {self.why_not}"
        parts = (
            self.received_at[11:19],
            f"{self.type or '(no event)':<26}",
            f"job {self.job_id}" if self.job_id else "no job",
            f"sequence {self.sequence}" if self.sequence is not None else "no sequence",
            checked,
            *((f"answered {self.answered}",) if self.answered >= 300 else ()),
        )
        return plain("  ".join(parts)).replace("\n", " ")


def listen(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one", metavar="PORT")
    ] = 8080,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="whsec_...",
            help="What deliveries are signed with; may be given several times",
            show_envvar=True,
            envvar="VOXQUEUE_WEBHOOK_SECRET",
        ),
    ] = None,
    forward: Annotated[
        str | None, typer.Option(metavar="URL", help="Send it on to here, and answer as that does")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line for each delivery")] = False,
) -> None:
    """Receive webhooks here and print them.

    It runs on this machine until Ctrl-C. With a secret it verifies each one, and answers 401 to what it has not signed.
    """
    receiver = _Receiver(_checked(secret or []), forward, as_json)
    try:
        server = _Server((_LOOPBACK, port), receiver.handler())
    except OSError as error:
        complain(f"Port {port} cannot be used ({error.strerror}): choose another with --port, or --port 0 for any.")
        raise typer.Exit(1) from error
    with server:
        _introduce(server.server_address[1], bool(secret))
        try:
            server.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            remark("stopped")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up in the middle of a delivery sends it again."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Receiver:
    """Looks at what comes, one thread per delivery."""

    def __init__(self, secrets: Sequence[str], forward: str | None, as_json: bool) -> None:
        self._secrets = secrets
        self._forward = forward
        self._as_json = as_json
        self._pen = threading.Lock()

    def receive(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str]:
        """Print a delivery; returns the status to answer with, and the words."""
        verified, why_not = self._verify(headers, body)
        answered = 401 if verified is False else self._answer(headers, body)
        try:
            content = json.loads(body)
        except ValueError:
            content = None
        received = _described(headers, content, verified, why_not, answered)
        line = json.dumps(asdict(received), ensure_ascii=False) if self._as_json else received.line()
        with self._pen:
            print(line, flush=True)
        return answered, f"Not verified: {why_not}" if verified is False else ""

    def _verify(self, headers: Mapping[str, str], body: bytes) -> tuple[bool | None, str | None]:
        from standardwebhooks import Webhook, WebhookVerificationError

        why_not = None
        for secret in self._secrets:
            try:
                Webhook(secret).verify(body, dict(headers), json_parse=False)
            except WebhookVerificationError as error:
                why_not = str(error)
            except ValueError:  # the library expects headers and bodies that can be read
                why_not = "Invalid signature headers or body"
            else:
                return True, None
        return (False if self._secrets else None), why_not

    def _answer(self, headers: Mapping[str, str], body: bytes) -> int:
        """Send it on, where that is wished for; 502 if nobody is there."""
        if self._forward is None:
            return 204
        import httpx

        passed_on = {name: headers[name] for name in _PASSED_ON if name in headers}
        try:
            answer = httpx.post(self._forward, content=body, headers=passed_on, timeout=_FORWARD_S, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            remark(f"{self._forward} did not answer: {error}")
            return 502
        return answer.status_code

    def handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30  # a connection on which nothing comes

            def do_POST(self) -> None:
                announced = self.headers.get("Content-Length", "")
                if not (announced.isascii() and announced.isdigit() and int(announced) <= _MOST_BYTES):
                    self.close_connection = True
                    self._say(413 if announced.isdigit() else 411)
                    return
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._say(*receiver.receive(headers, self.rfile.read(int(announced))))

            def do_GET(self) -> None:
                self._say(405)

            def _say(self, status: int, words: str = "") -> None:
                body = words.encode()
                self.send_response(status)
                if body:
                    self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's own name
                """Say nothing: each delivery has its line."""

        return Handler


def _described(
    headers: Mapping[str, str], content: Any, verified: bool | None, why_not: str | None, answered: int
) -> Received:
    event = content if isinstance(content, dict) else {}
    data = event.get("data")
    name, sequence = event.get("type"), event.get("sequence")
    job_id = data.get("job_id") if isinstance(data, dict) else None
    return Received(
        received_at=datetime.now().astimezone().isoformat(timespec="milliseconds"),
        id=headers.get("webhook-id"),
        type=name if isinstance(name, str) else None,
        job_id=job_id if isinstance(job_id, str) else None,
        sequence=sequence if isinstance(sequence, int) else None,
        verified=verified,
        why_not=why_not,
        answered=answered,
        body=content,
    )


def _checked(secrets: Sequence[str]) -> Sequence[str]:
    from standardwebhooks import Webhook
    from standardwebhooks.webhooks import EmptyWebhookSecretError

    for secret in secrets:
        try:
            Webhook(secret)
        except (ValueError, EmptyWebhookSecretError) as error:
            raise typer.BadParameter("a secret is `whsec_` and base64, as the API has shown it") from error
    return secrets


def _introduce(port: int, verifies: bool) -> None:
    from voxqueue.settings import WebhooksSettings

    usual = WebhooksSettings().ports
    lines = [
        f"Listening on http://{_LOOPBACK}:{port}/ until Ctrl-C.",
        "Private addresses are not called unless the API and the courier, or `voxqueue up`, were started with:",
        "  export VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS=127.0.0.0/8",
        "  export VOXQUEUE_WEBHOOKS_ALLOW_HTTP=true",
    ]
    if port not in usual:
        lines.append(f"  export VOXQUEUE_WEBHOOKS_PORTS={','.join(map(str, (*usual, port)))}")
    if not verifies:
        lines.append("Signatures are not checked: give the secret with --secret, or as VOXQUEUE_WEBHOOK_SECRET.")
    remark("\n".join(lines))
