"""Reads HTTP as uvicorn does, and ends a connection whose request goes on and on without coming to its body.

uvicorn keeps all of a request's head in memory, however long that grows, and so before any key is looked at. Whoever
runs it names this class: ``uvicorn --http api.bounded_http:BoundedHttp``. Knows nothing of the app.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 131_072
WORDS = "The head of the request is too large."


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol. A head, or the trailers after a body, may have `MOST_HEAD_BYTES`; what is more is a 400."""

    _unfinished = 0  # bytes that have come since a head was complete, or a part of a body
    _got_on = False

    def data_received(self, data: bytes) -> None:
        self._got_on = False
        super().data_received(data)
        self._unfinished = 0 if self._got_on else self._unfinished + len(data)
        if self._unfinished > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.logger.warning(WORDS)
            self.send_400_response(WORDS)

    def on_headers_complete(self) -> None:
        self._got_on = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._got_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._got_on = True
        super().on_message_complete()
