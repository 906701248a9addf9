"""The Hugging Face hub and the cache that it fills on this machine: the one room that imports `huggingface_hub`.

Knows repositories and files, nothing of engines. Whatever goes wrong is one line that says what to do about it.
"""

import errno
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from voxqueue.errors import EngineUnusable
from voxqueue.extras import install


def cached(repo: str, files: tuple[str, ...], cache: Path | None) -> Path | None:
    """The folder of a repository in the cache; None where it is not there, or only a part of it. Asks no server.

    Args:
        repo: Such as ``Systran/faster-whisper-small``.
        files: Patterns of the files that count.
        cache: Where the cache lies; None leaves that to `huggingface_hub` (``HF_HUB_CACHE``, ``HF_HOME``).

    Raises:
        EngineUnusable: `huggingface_hub` is not installed, the name is none, or the cache cannot be read.
    """
    hub = _hub()
    try:
        where = hub.snapshot_download(repo, allow_patterns=list(files), cache_dir=cache, local_files_only=True)
    except hub.errors.LocalEntryNotFoundError:
        return None
    except hub.errors.HFValidationError as error:
        raise EngineUnusable(f"{repo!r} is no name of a model on the hub: {_first_line(error)}") from error
    except OSError as error:
        raise EngineUnusable(f"The cache of models cannot be read: {error}.") from error
    return Path(where)


def download(repo: str, files: tuple[str, ...], cache: Path | None, on_progress: Callable[[float], None]) -> None:
    """Fetch what the cache lacks of a repository.

    Args:
        repo: As for `cached`, and so are `files` and `cache`.
        on_progress: Told how much of what was lacking is here, from 0 to 1, from several threads but never at once.

    Raises:
        EngineUnusable: Why it could not be fetched, and what to do.
    """
    hub = _hub()
    wanted: dict[str, Any] = {"allow_patterns": list(files), "cache_dir": cache}
    try:
        plan = hub.snapshot_download(repo, dry_run=True, tqdm_class=_counter(0, on_progress), **wanted)
        lacking = sum(file.file_size or 0 for file in plan if file.will_download)
        _refuse_without_space(repo, lacking, Path(cache or hub.constants.HF_HUB_CACHE).expanduser())
        folder = hub.snapshot_download(repo, tqdm_class=_counter(lacking, on_progress), **wanted)
        _remove_fragments(Path(folder).parents[1] / "blobs")
    except EngineUnusable:
        raise
    except Exception as error:  # its HTTP client, its transfer library in Rust and the disk raise what they like
        raise EngineUnusable(_reason(hub, repo, error)) from error


def _hub() -> ModuleType:
    try:
        import huggingface_hub  # noqa: PLC0415 - comes with the extra `models`, and takes half a second
        import huggingface_hub.errors  # noqa: PLC0415
    except ImportError:
        raise EngineUnusable(f"The model runtimes are not installed: {install('models')}.") from None
    return huggingface_hub


def _refuse_without_space(repo: str, lacking: int, cache: Path) -> None:
    existing = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < lacking:
        raise EngineUnusable(
            f"{repo} needs {lacking / 1e9:.1f} GB, and {existing} has {free / 1e9:.1f} GB left: make room, or set "
            "VOXQUEUE_MODELS_DIR to a folder on another disk."
        )


def _remove_fragments(blobs: Path) -> None:
    """Remove what killed downloads have left of files that are here by now: no download takes up another's fragment."""
    for fragment in blobs.glob("*.incomplete"):
        if (blobs / fragment.name.partition(".")[0]).exists():
            fragment.unlink(missing_ok=True)


def _counter(lacking: int, on_progress: Callable[[float], None]) -> type:
    """A class that takes the place of tqdm and counts bytes.

    The hub makes one bar for what came over the network, one for what lies on the disk, and one for files. Which of the
    first two moves depends on how it transfers, so that the one that is ahead tells how far we are.
    """
    from tqdm import tqdm  # type: ignore[import-untyped]  # noqa: PLC0415 - comes with huggingface_hub

    lock = threading.Lock()
    said = 0

    class Counter(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts_bytes = kwargs.get("unit") == "B"
            self._done = 0.0
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> None:
            nonlocal said
            if not self._counts_bytes or not lacking:
                return
            with lock:
                self._done += n or 0
                percent = min(100, int(100 * self._done / lacking))
                if percent > said:
                    said = percent
                    on_progress(percent / 100)

    return Counter


def _reason(hub: ModuleType, repo: str, error: Exception) -> str:
    """One line for a person: what stood in the way, and what to do."""
    chain, known, server = list(_chain(error)), hub.errors, hub.constants.ENDPOINT

    def met(*kinds: type[BaseException]) -> Any:
        return next((link for link in chain if isinstance(link, kinds)), None)

    if met(known.OfflineModeIsEnabled):
        return "Nothing can be fetched while HF_HUB_OFFLINE is set: unset it, or name a local folder instead."
    if met(known.GatedRepoError):
        return f"{repo} is gated: accept its licence at {server}/{repo} and set HF_TOKEN."
    if met(known.RepositoryNotFoundError):
        return f"{server} has no model {repo} that we may see: check its name, or set HF_TOKEN if it is a private one."
    if answer := met(known.HfHubHTTPError):
        return _refusal(repo, server, answer.response.status_code)
    if met(known.HTTPError, ConnectionError, TimeoutError):
        return f"{server} cannot be reached to fetch models. Check the network, or name a local folder instead."
    disk = met(OSError)
    if disk is not None and disk.errno == errno.ENOSPC:
        return f"The disk is full: make room for {repo}, or set VOXQUEUE_MODELS_DIR to a folder on another disk."
    if disk is not None and disk.errno is not None:
        return f"{repo} cannot be kept here: {disk}. VOXQUEUE_MODELS_DIR chooses another folder."
    return f"{repo} could not be fetched: {type(error).__name__}: {_first_line(error)}"


def _refusal(repo: str, server: str, status: int) -> str:
    if status in (401, 403):
        return f"{server} refuses {repo} to us ({status}): check HF_TOKEN, and whether its licence has to be accepted."
    return f"{server} answered {status} for {repo}: try again later."


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")[:300]
