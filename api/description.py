"""What the API says of itself beyond its routes."""

from typing import Any

from fastapi import FastAPI

from api.schemas.problems import Problem

DESCRIPTION = """\
Upload a voice note and go on; some seconds later there is a transcript, a written reply and the reply as speech.

A submit answers `202` with the job and its `Location`. Ask for the job again until its `state` is `succeeded`,
`failed` or `canceled`; `Prefer: wait=30` makes that one request. Errors are problem documents (RFC 9457).
"""

TAGS = [
    {"name": "submit", "description": "Have work done"},
    {"name": "jobs", "description": "Follow it, call it off, remove it"},
    {"name": "results", "description": "What it has brought"},
    {"name": "readiness", "description": "For load balancers and operators"},
]


def complete(app: FastAPI) -> None:
    """Complete what FastAPI says of the app: it knows nothing of the problem documents."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        schema = describe()
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        parts = schema["components"]["schemas"]
        parts.update(problem.pop("$defs"))
        parts["Problem"] = problem
        return schema

    app.openapi = described  # type: ignore[method-assign]
