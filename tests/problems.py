"""Holds what the API answers to bad requests against what a problem document must be."""

import httpx


def refused(answer: httpx.Response, status: int, code: str = "invalid-request") -> str:
    """Check that an answer is a problem document of this kind; returns its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:voxqueue:problem:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["instance"] == answer.request.url.path
    detail = problem["detail"]
    assert isinstance(detail, str)
    assert detail
    return detail


def fields(answer: httpx.Response) -> list[str]:
    """The fields that it names."""
    return [error["field"] for error in answer.json()["errors"]]
