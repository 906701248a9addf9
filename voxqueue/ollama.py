"""What an Ollama server has, and having it pull what it lacks. For the command line; the engine speaks for itself.

Knows nothing of settings: it gets an address.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from voxqueue.errors import EngineUnusable

_ASKING = httpx.Timeout(3)
_PULLING = httpx.Timeout(10, read=600)  # checking the sum of a large file takes minutes, without a word


def size_on_server(url: str, name: str) -> int | None:
    """Bytes that a model takes up on the server; None where it is not pulled.

    Raises:
        EngineUnusable: The server does not answer, or is none.
    """
    try:
        answer = httpx.get(f"{url.rstrip('/')}/api/tags", timeout=_ASKING).raise_for_status()
        sizes = {model["name"]: int(model.get("size", 0)) for model in answer.json()["models"]}
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _silent(url) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EngineUnusable(f"What answers at {url} is no Ollama: check VOXQUEUE_OLLAMA_URL.") from error
    return sizes.get(name if ":" in name.rpartition("/")[2] else f"{name}:latest")


def pull(url: str, name: str, on_progress: Callable[[float], None] = lambda share: None) -> None:
    """Have the server fetch a model, and wait until it has.

    Args:
        on_progress: Told how much of what the server knows of so far is there, from 0 to 1, never less than before.

    Raises:
        EngineUnusable: Why it could not.
    """
    request = {"model": name, "stream": True}
    try:
        with httpx.stream("POST", f"{url.rstrip('/')}/api/pull", json=request, timeout=_PULLING) as answer:
            if answer.status_code == httpx.codes.OK:
                _follow(name, map(_said, answer.iter_lines()), on_progress)
            else:
                said = _said(answer.read().decode(errors="replace"))
                raise _not_pulled(name, str(said.get("error", f"it answered {answer.status_code}")))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _silent(url) from error


def _follow(name: str, news: Iterator[dict[str, Any]], on_progress: Callable[[float], None]) -> None:
    """Tell the progress until the server says that it is done. It reports each of the model's files by its digest."""
    totals: dict[str, int] = {}
    done: dict[str, int] = {}
    furthest = 0.0
    for said in news:
        if "error" in said:
            raise _not_pulled(name, str(said["error"]))
        if said.get("status") == "success":
            on_progress(1.0)
            return
        if said.get("digest") and said.get("total"):
            totals[said["digest"]] = said["total"]
            done[said["digest"]] = said.get("completed", 0)
            furthest = max(furthest, min(1.0, sum(done.values()) / sum(totals.values())))
            on_progress(furthest)
    raise _not_pulled(name, "it stopped without saying why")


def _said(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _not_pulled(name: str, why: str) -> EngineUnusable:
    return EngineUnusable(f"Ollama could not pull {name}: {why}. VOXQUEUE_OLLAMA_MODEL names the model.")


def _silent(url: str) -> EngineUnusable:
    return EngineUnusable(f"Ollama does not answer at {url}: start it with `ollama serve`, or set VOXQUEUE_OLLAMA_URL.")
