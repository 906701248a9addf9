"""docs/client.md: what it shows runs as it stands, from the first line to the last."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import start
from tests.command import ROOT
from tests.recordings import recording, tone
from voxqueue.embedded import Stack

pytestmark = pytest.mark.acceptance

PAGE = ROOT / "docs" / "client.md"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start({"VOXQUEUE_ENGINES": "fake"}) as stack:
        yield stack


def test_the_page_of_the_client_runs(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever copies from the page would be the first to find out otherwise."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXQUEUE_URL", stack.api_url)
    monkeypatch.delenv("VOXQUEUE_API_KEY", raising=False)
    Path("note.ogg").write_bytes(recording(tone(1), 16_000, "ogg"))
    text = PAGE.read_text()
    parts = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert len(parts) > 5
    seen: dict[str, object] = {}
    for part in parts:
        line = text.count("\n", 0, part.start(1))
        exec(compile("\n" * line + part[1], str(PAGE), "exec"), seen)  # noqa: S102 - our own page
    said = capsys.readouterr().out
    assert " queued\n" in said
    assert "succeeded" in said
    assert "True\n" in said, "one key, one job"
    assert "whsec_" in said
    assert "-->" in str(seen["subtitles"])
    assert Path("reply.ogg").read_bytes().startswith(b"OggS")
