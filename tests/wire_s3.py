"""S3 as a real (moto) server speaks it, on loopback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from moto.server import ThreadedMotoServer


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a server that holds nothing yet."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else each request is named
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        # moto keeps its buckets per process: those of a server before would still be there
        httpx.post(f"{address}/moto-api/reset").raise_for_status()
        yield address
    finally:
        server.stop()
