"""How an error looks on the wire, for the documentation; `api.problems` writes them."""

from typing import Any

from pydantic import BaseModel, Field

_MEANINGS = {
    401: "No API key was sent, or none that counts",
    403: "The API key lacks the scope",
    404: "There is no such thing",
    409: "The job is not in a state that allows this, or a request with the same `Idempotency-Key` is under way",
    413: "The body or the recording is too large",
    415: "The body is of the wrong type, or the file is no recording",
    416: "The file has no such part",
    422: "The request is not valid, or the recording cannot be used",
    429: "Too many requests, or too many jobs under way; try again after `Retry-After`",
    503: "Something that we need does not answer, or the queue is full; try again after `Retry-After`",
}


class FieldProblem(BaseModel):
    field: str
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457, `application/problem+json`)."""

    type: str = Field(description="Stable, for programs to tell errors apart; docs/errors.md lists them")
    title: str = Field(description="What `type` means")
    status: int
    detail: str = Field(description="What happened this time, and what to do about it")
    instance: str = Field(description="The path that was asked for")
    errors: list[FieldProblem] | None = Field(None, description="Each field that is wrong, where fields are to blame")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, for its documentation."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}
