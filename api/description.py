"""What the API says of itself beyond its routes."""

from typing import Any

from fastapi import FastAPI

from api.problem_types import of_jobs, of_requests
from api.schemas.problems import Problem, problems

DESCRIPTION = f"""\
Upload a voice note and go on; some seconds later there is a transcript, a written reply and the reply as speech.

A submit answers `202` with the job and its `Location`. Ask for the job again until its `state` is `succeeded`,
`failed` or `canceled`; `Prefer: wait=30` makes that one request. Or name a `webhook_url` with the submit, and be told.
Errors are problem documents (RFC 9457). Programs go by their `type`: `urn:voxqueue:problem:` and one of these words.

<details><summary>Types of errors</summary>

{of_requests()}
And in a job's own `error`, where it has failed:

{of_jobs()}
</details>
"""

TAGS = [
    {"name": "submit", "description": "Have work done"},
    {"name": "jobs", "description": "Follow it, call it off, remove it"},
    {"name": "results", "description": "What it has brought"},
    {"name": "webhooks", "description": "Be told of it"},
    {"name": "readiness", "description": "For load balancers and operators"},
    {"name": "operations", "description": "The fleet at work, for operators"},
]


def complete(app: FastAPI) -> None:
    """Correct what FastAPI says of the app: it knows nothing of our problem documents, and promises its own."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _correct(describe())
        return describe()

    app.openapi = described  # type: ignore[method-assign]


def _correct(schema: dict[str, Any]) -> None:
    parts = schema["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        del parts[unused]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    parts |= {**problem.pop("$defs"), "Problem": problem}
    for methods in schema["paths"].values():
        for operation in methods.values():
            answers = operation["responses"]
            if "application/json" in answers.get("422", {}).get("content", {}):  # FastAPI's own, where we have none
                del answers["422"]
            answers.setdefault("422", problems(422)[422])  # to a query parameter that is not known
            if "security" in operation:
                answers |= {str(status): answer for status, answer in problems(401, 403, 429).items()}
