"""A Hugging Face hub on loopback: as much of its protocol as `huggingface_hub` needs to fetch models."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.wire import Asked, Said, Wire, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """The repositories it has, and how it behaves.

    Attributes:
        repos: Repository to file to content.
        gated: Repositories whose licence has to be accepted.
        refused: Files (``owner/name/file``) that it describes, but does not hand out.
        claimed_size: What it says every file weighs; None for the truth.
        status: What it answers to everything, if it is out of order.
    """

    repos: dict[str, dict[str, bytes]]
    gated: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    claimed_size: int | None = None
    status: int | None = None
    wire: Wire = field(init=False)

    @property
    def url(self) -> str:
        return self.wire.url

    def fetched(self) -> set[str]:
        """The files that were fetched from it since the last time this was asked."""
        paths = {asked.path for asked in self.wire.asked if asked.method == "GET" and "/resolve/" in asked.path}
        self.wire.asked.clear()
        return {path.partition(f"/resolve/{COMMIT}/")[2] for path in paths}

    def tag(self, repo: str, name: str) -> str:
        """What a cache calls this file."""
        return _tag(self.repos[repo][name])

    def answer(self, asked: Asked) -> Said:
        if self.status is not None:
            return Said(self.status)
        path = asked.path.removeprefix("/").removeprefix("api/models/")
        repo = "/".join(path.split("/")[:2])
        if repo not in self.repos:
            return _refusal(401, "RepoNotFound")  # the hub's answer to whoever shows no token
        if "/revision/" in path:
            return Said.json({"id": repo, "sha": COMMIT, "siblings": []})
        if "/tree/" in path:
            return Said.json([self._entry(name, content) for name, content in self.repos[repo].items()])
        return self._file(repo, path.partition(f"/resolve/{COMMIT}/")[2], asked.method)

    def _entry(self, name: str, content: bytes) -> dict[str, object]:
        return {"type": "file", "path": name, "size": self._size(content), "oid": _tag(content)}

    def _file(self, repo: str, name: str, method: str) -> Said:
        if repo in self.gated:
            return _refusal(401, "GatedRepo")
        if method == "GET" and f"{repo}/{name}" in self.refused:
            return Said(403)
        content = self.repos[repo][name]
        tag = _tag(content)
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(self._size(content))}
        return Said(200, content, headers)

    def _size(self, content: bytes) -> int:
        return len(content) if self.claimed_size is None else self.claimed_size


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refusal(status: int, code: str) -> Said:
    return Said(status, b"", {"X-Error-Code": code, "X-Error-Message": code})


@contextmanager
def hub_with(repos: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """A hub that has these repositories, until the block ends."""
    hub = Hub(repos)
    with serving(hub.answer) as hub.wire:
        yield hub
