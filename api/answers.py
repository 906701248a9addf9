"""Answers that several routes give. They are bytes already, so that the framework does not check them once more."""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel
from starlette.responses import Response

from api.schemas.jobs import JobView, job_path
from voxqueue.jobs.models import Job


def as_json(body: BaseModel, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, headers, "application/json")


def shown(job: Job, headers: Mapping[str, str] | None = None) -> Response:
    return as_json(JobView.of(job), headers=headers)


def accepted(job: Job, *, replayed: bool = False) -> Response:
    """The job is there; here is where to follow it. `replayed`: another request with the same key has made it."""
    headers = {"Location": job_path(job.id), "Retry-After": "1"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return as_json(JobView.of(job), HTTPStatus.ACCEPTED, headers)
