"""``python -m api.problem_types`` writes every type of problem to ``docs/errors.md``; a test holds the two together.

Goes by the tree of errors alone: when each comes is what its docstring says.
"""

from collections.abc import Iterable
from pathlib import Path

from voxqueue.errors import (
    EngineUnavailable,
    EngineUnusable,
    MisconfiguredError,
    NotBegun,
    StageError,
    VoxqueueError,
)

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"

_UNSEEN = (EngineUnavailable, EngineUnusable, MisconfiguredError, NotBegun)
"""What a caller never meets: a process ends with it, or a job waits because of it."""

_INTRODUCTION = """\
# Errors

Written by `python -m api.problem_types`; edit `voxqueue/errors.py` instead.

Every error is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457), `application/problem+json`):

```json
{"type": "urn:voxqueue:problem:audio-too-long", "title": "The recording is too long", "status": 413,
 "detail": "The recording lasts longer than the 15:00 min that are allowed. Send a shorter one, or split it.",
 "instance": "/v1/voice-notes"}
```

Programs go by `type`, which stays as it is: `urn:voxqueue:problem:` and one of the words below. `title` says what the
type means, `detail` what happened this time and what to do about it; both may be worded otherwise tomorrow. Where
fields are to blame, `errors` has `{"field", "detail"}` for each of them. "Again" says whether the same request may
succeed later; how much later, `Retry-After` says where that is known.
"""

_OF_JOBS = """\
A submit is accepted before any of its stages has run. A job that cannot be finished has the state `failed`, and in
`error` the members `type`, `title`, `detail` and `stage`. "Again" says whether Voxqueue has tried the stage again by
itself before, up to `VOXQUEUE_JOBS_MAX_TRIES` times; any failed job can be tried again by `POST /v1/jobs/{id}/retry`. A
recording that turns out to be unusable only when it is decoded has a type of the table above.
"""

_IN_WORDS_OF_HTTP = """\
What HTTP itself has a word for is called by that word, such as `method-not-allowed` (405).
"""


def page() -> str:
    """All types as a page of Markdown."""
    return (
        "\n".join(
            (
                _INTRODUCTION,
                "## Answers to requests\n",
                of_requests(),
                _IN_WORDS_OF_HTTP,
                "## Why a job has failed\n",
                _OF_JOBS,
                of_jobs(),
            )
        ).rstrip("\n")
        + "\n"
    )


def of_requests() -> str:
    """The types that a request may be answered with, as a table."""
    kinds = [kind for kind in _kinds(VoxqueueError) if not issubclass(kind, StageError)]
    rows = (f"| `{kind.code}` | {kind.status} | {kind.title} | {_again(kind)} | {_when(kind)} |" for kind in kinds)
    return _table("| Type | Status | Title | Again | When |", rows)


def of_jobs() -> str:
    """The types that a failed job may have, as a table."""
    kinds: list[type[VoxqueueError]] = [*_kinds(StageError), VoxqueueError]
    rows = (f"| `{kind.code}` | {kind.title} | {_again(kind)} | {_when(kind)} |" for kind in kinds)
    return _table("| Type | Title | Again | When |", rows)


def _kinds(kind: type[VoxqueueError]) -> Iterable[type[VoxqueueError]]:
    """A class of errors and those below it, as they stand in their module, but for what nobody meets."""
    if kind not in _UNSEEN:
        yield kind
    for below in kind.__subclasses__():
        if below.__module__ == VoxqueueError.__module__:  # not what a test adds
            yield from _kinds(below)


def _again(kind: type[VoxqueueError]) -> str:
    return "yes" if kind.retryable else ""


def _when(kind: type[VoxqueueError]) -> str:
    if kind is VoxqueueError:
        return "Nobody has foreseen it; the log of the API or of the worker has more."
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def _table(head: str, rows: Iterable[str]) -> str:
    columns = head.count("|") - 1
    return "\n".join((head, "|" + " --- |" * columns, *rows)) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
