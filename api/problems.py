"""Errors as problem documents (RFC 9457). The only room that knows how an error looks on the wire."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from api.security_headers import security_headers
from voxqueue.errors import BodyTooLarge, InvalidRequest, NotFound, VoxqueueError
from voxqueue.plain_words import what_is_expected
from voxqueue.telemetry import about, mark_as_logged

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_CODE = "voxqueue.problem"  # the place in a request's scope where the code of its problem is left
_ECHO_CHARS = 50  # of what a caller sent, in a message about it
_MOST_FAULTS = 50  # that are named: an answer must not be many times its request
_OUR_FAULT = "It is not your request's fault, and it has been logged."


def handle_errors(app: FastAPI) -> None:
    """Make every error of this app a problem document."""
    app.add_exception_handler(VoxqueueError, _voxqueue_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected_error)


def problem(error: VoxqueueError, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that met this error."""
    members = {**error.as_problem(), "status": error.status, "instance": path}
    retry_after = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    return _Problem(error.code, error.status, members, {**retry_after, **(headers or {})})


def problem_code(scope: Scope) -> str | None:
    """The code of the problem that a request was answered with, such as ``rate-limited``, if it was with one."""
    code: str | None = scope.get(_CODE)
    return code


class _Problem(Response):
    """A problem document, whose code stays behind for those who count."""

    def __init__(
        self, code: str, status: int, members: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> None:
        # ASCII, since what a caller sent may be quoted here and need not be text that UTF-8 can express.
        super().__init__(json.dumps(members), status, headers, MEDIA_TYPE)
        self.code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_CODE] = self.code
        await super().__call__(scope, receive, send)


def _refusal(status: int, detail: str, path: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer where HTTP's own words for a status say it all."""
    phrase = HTTPStatus(status).phrase
    code = phrase.lower().replace(" ", "-")
    members = {"type": f"urn:voxqueue:problem:{code}", "title": phrase, "detail": detail}
    return _Problem(code, status, {**members, "status": status, "instance": path}, headers)


async def _voxqueue_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, VoxqueueError)
    if error.status != HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(error, request.url.path)
    _log(request, error)
    return _our_fault(request, error)


async def _unexpected_error(request: Request, error: Exception) -> Response:
    """Answers what nobody has foreseen. The framework raises the error again after this, for the server to log it."""
    _log(request, error)
    mark_as_logged(error)
    answer = _our_fault(request, VoxqueueError(_OUR_FAULT))
    answer.headers["Connection"] = "close"  # the server closes it: nobody shall send the next request on it
    return answer


def _log(request: Request, error: Exception) -> None:
    """Here, while the request's trace is the current one, and without its query, which may hold secrets."""
    method, path = request.method, request.url.path
    with about(method=method, path=path):
        log.error("%s %s failed", method, path, exc_info=error)


def _our_fault(request: Request, error: VoxqueueError) -> Response:
    """What kind of error it is, and nothing of its details, which are for operators."""
    path = request.url.path
    members = {"type": error.type, "title": error.title, "detail": _OUR_FAULT, "status": 500, "instance": path}
    # Sent from outside of all middleware.
    return _Problem(error.code, 500, members, security_headers(path, MEDIA_TYPE))


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework itself refuses."""
    assert isinstance(error, HTTPException)
    method, path = request.method, request.url.path
    match error.status_code:
        case 400 if isinstance(error.__cause__, VoxqueueError):  # of all errors, body parsing lets only these through
            return problem(error.__cause__, path)
        case 400:  # the framework says so only of bodies that it cannot parse
            return problem(InvalidRequest.of(("body", f"cannot be read: {_why_unreadable(error)}")), path)
        case 404:
            return problem(NotFound(f"There is nothing at {path[:_ECHO_CHARS]}."), path)
        case 405:
            allowed = _allowed(request)
            detail = f"{method} is not possible here; possible is {allowed}."
            return _refusal(error.status_code, detail, path, {"Allow": allowed})
        case 413:
            return problem(BodyTooLarge(error.detail), path)
    return _refusal(error.status_code, error.detail, path, error.headers)


def _allowed(request: Request) -> str:
    """What is possible at this address; the framework names the methods of the first route there alone."""
    asked = ({**request.scope, "method": method} for method in ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"))
    possible = (one for one in asked if any(it.matches(one)[0] is Match.FULL for it in request.app.routes))
    return ", ".join(one["method"] for one in possible)


def _why_unreadable(error: HTTPException) -> str:
    """What is wrong with a body, in our words where the framework says no more than that something is."""
    match error.__cause__:
        case UnicodeDecodeError():
            return "it is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case ValueError():  # of Python's reader, which knows no other reason
            return "it holds a number with too many digits"
    return error.detail


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    faults = [_fault(one) for one in errors[:_MOST_FAULTS]]
    if more := len(errors) - len(faults):
        faults.append(("body", f"has {more:,} more faults"))
    return problem(InvalidRequest.of(*faults), request.url.path)


def _fault(error: Mapping[str, Any]) -> tuple[str, str]:
    """The field and, in our own words where pydantic's are for programmers, what is wrong with it."""
    context: Mapping[str, Any] = error.get("ctx") or {}
    place: Sequence[Any] = error["loc"][1:]  # the first says where the field stands: body, query, path or header
    field = ".".join(str(part)[:_ECHO_CHARS] for part in place) or str(error["loc"][0])
    match error["type"]:
        case "json_invalid":
            return "body", f"is not JSON: {context['error']}, at character {place[0]}"
        case "enum" | "literal_error":
            return field, f"{_quoted(error['input'])} is not {context['expected']}"
    return field, what_is_expected(error)


def _quoted(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _ECHO_CHARS else f"{text[:_ECHO_CHARS]}…"
