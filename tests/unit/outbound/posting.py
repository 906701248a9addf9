"""POSTs to servers of the test's own.

The hosts are loopback addresses: a server is reached by naming its address as an allowed network, and every other one
of 127.0.0.0/8 stands for what must not be reached.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from voxqueue.settings import WebhooksSettings
from voxqueue.webhooks.schedule import Attempt
from workers.outbound import Outbound

PUBLIC = WebhooksSettings()
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"


def allowing(url: str, *networks: str, timeout_s: float = 20) -> WebhooksSettings:
    """Settings under which a server of the test's own may be called."""
    port = int(url.rpartition(":")[2])
    return WebhooksSettings(
        allow_networks=networks or (f"{HERE}/32",), allow_http=True, ports=(port,), timeout_s=timeout_s
    )


def names(*answers: list[str]) -> Callable[..., list[Any]]:
    """A name server that gives these answers, one after the other, and fails when asked once more."""
    left = iter(answers)

    def look_up(host: str, port: int, *_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in next(left)]

    return look_up


def named(url: str) -> str:
    return url.replace(HERE, "hooks.example.com")


def post(url: str, settings: WebhooksSettings, *answers: list[str], **more: Any) -> Attempt:
    if answers:
        more["look_up"] = names(*answers)
    return Outbound(settings, **more).post(url, {"Content-Type": "application/json"}, b'{"a":1}')


@contextmanager
def talking(talk: Callable[[socket.socket], None], host: str = HERE) -> Iterator[str]:
    """A server that says what it likes, without HTTP; its address."""
    with socket.create_server((host, 0)) as server, suppress(OSError):
        threads: list[threading.Thread] = []

        def talk_to(line: socket.socket) -> None:
            with line, suppress(OSError):
                talk(line)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    line, _ = server.accept()
                    threads.append(threading.Thread(target=talk_to, args=(line,)))
                    threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[0].start()
        yield f"http://{host}:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
