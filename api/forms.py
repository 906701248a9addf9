"""Reads forms as UTF-8 and as nothing else: the framework takes what is not for Latin-1, and so stores wrong letters.

Knows no fields but how long those of a submit may be, and no routes; a router that takes forms names `FormRoute`.
"""

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from voxqueue.errors import InvalidRequest
from voxqueue.jobs import submission

_ECHO_CHARS = 50


class FormRoute(APIRoute):
    """A route whose request reads its form as `_Utf8Parser` does."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_form(request: Request) -> Response:
            return await handle(_FormRequest(request.scope, request.receive))

        return handle_form


class _FormRequest(Request):
    async def _get_form(self, **limits: Any) -> FormData:
        """As the framework's, for what is a multipart form; anything else has no fields, and is refused later."""
        if self._form is None:
            if not self.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                return FormData()
            try:
                async with aclosing(self.stream()) as stream:
                    self._form = await _Utf8Parser(self.headers, stream, **limits).parse()
            except _TooLong as error:
                fault = error.field, submission.too_long(error.field, self.app.state.services.settings.limits)
                raise HTTPException(400, error.message) from InvalidRequest.of(fault)
            except MultiPartException as error:
                raise HTTPException(400, error.message) from error
        return self._form


class _TooLong(MultiPartException):
    """A field other than a file has more bytes than any that is taken, and is read no further."""

    def __init__(self, field: str) -> None:
        super().__init__(f"the field {field} is too long")
        self.field = field


class _Utf8Parser(MultiPartParser):
    def on_part_begin(self) -> None:
        if self._charset not in ("utf-8", "ascii"):
            raise MultiPartException("its Content-Type names another charset than UTF-8")
        super().on_part_begin()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._current_part
        if part.file is None and len(part.data) + end - start > self.max_part_size:
            raise _TooLong(part.field_name[:_ECHO_CHARS])
        super().on_part_data(data, start, end)

    def on_part_end(self) -> None:
        part = self._current_part
        if part.file is not None:
            super().on_part_end()
            return
        try:
            self.items.append((part.field_name, part.data.decode()))
        except UnicodeDecodeError:
            raise MultiPartException(f"the field {part.field_name[:_ECHO_CHARS]} is not UTF-8") from None
