"""Which models the configured engines need, where they lie on this machine, and how to get those that do not.

It reads settings and folders. It loads no model and imports no runtime.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from voxqueue import hub
from voxqueue.errors import EngineUnusable
from voxqueue.settings import ModelsSettings, Settings
from voxqueue.stages import Stage

WHISPER_SIZES = {
    **{
        size: f"Systran/faster-whisper-{size}"
        for size in (
            *("tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en"),
            *("large-v1", "large-v2", "large-v3"),
        )
    },
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
"""The sizes that faster-whisper knows, and where they lie on the hub."""

_ON_THE_HUB = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_SHARDS = "*.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a configured engine needs. With neither `repo` nor `folder` it lies on a server of its own.

    Attributes:
        name: As the setting says it.
        setting: The variable that names it.
        repo: Where it lies on the Hugging Face hub.
        folder: Where it lies on this machine, if the setting names a folder.
        files: Patterns of what is fetched.
        needed: Patterns of files without which it cannot be loaded.
    """

    stage: Stage
    engine: str
    name: str
    setting: str
    repo: str | None = None
    folder: Path | None = None
    files: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    @property
    def served(self) -> bool:
        """Whether it lies on a server, which alone can say whether it is there."""
        return self.repo is None and self.folder is None


@dataclass(frozen=True, slots=True)
class _Files:
    fetched: tuple[str, ...]
    needed: tuple[str, ...]


_CTRANSLATE2 = _Files(
    ("model.bin", "config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.*"),
    ("model.bin", "config.json", "tokenizer.json", "vocabulary.*"),  # without its tokenizer it would ask the hub
)
_TEXT = ("*.json", "*.txt", "*.model", "*.jinja")
# Pickled weights (*.bin, *.pt) are left out: loading one can run what somebody wrote into it.
_TRANSFORMERS = _Files((*_TEXT, "*.safetensors"), ("config.json", "*.safetensors", "tokenizer*"))
_CODEC = _Files((*_TEXT, "*.safetensors"), ("config.json", "*.safetensors"))
_VITS = _Files((*_TEXT, "*.safetensors"), ("config.json", "*.safetensors", "vocab.json"))


def models_of(settings: Settings) -> list[Model]:
    """The models of every engine that the settings list, stage by stage, best engine first, each once."""
    engines = [name for stage in Stage for name in settings.engine_names(stage)]
    return list(dict.fromkeys(model for name in engines for model in engine_models(settings, name)))


def engine_models(settings: Settings, engine: str) -> list[Model]:
    """The models that one engine needs; none for an engine that brings its own or knows none.

    `vits` has one for each language, in the order of its setting; `pocket_tts` has the model and its codec.
    """
    stt, llm, tts = Stage.STT, Stage.LLM, Stage.TTS
    match engine:
        case "faster_whisper":
            setting, sizes = "VOXQUEUE_WHISPER_MODEL", WHISPER_SIZES
            return [_model(stt, engine, settings.whisper.model, setting, _CTRANSLATE2, sizes)]
        case "parakeet":
            return [_model(stt, engine, settings.parakeet.model, "VOXQUEUE_PARAKEET_MODEL", _TRANSFORMERS)]
        case "ollama":
            return [Model(llm, engine, settings.ollama.model, "VOXQUEUE_OLLAMA_MODEL")]
        case "openai":
            return [Model(llm, engine, settings.openai.model or "its only model", "VOXQUEUE_OPENAI_MODEL")]
        case "transformers":
            return [_model(llm, engine, settings.transformers.model, "VOXQUEUE_TRANSFORMERS_MODEL", _TRANSFORMERS)]
        case "pocket_tts":
            return [
                _model(tts, engine, settings.pocket.model, "VOXQUEUE_POCKET_MODEL", _TRANSFORMERS),
                _model(tts, engine, settings.pocket.codec, "VOXQUEUE_POCKET_CODEC", _CODEC),
            ]
        case "vibevoice":
            return [_model(tts, engine, settings.vibevoice.model, "VOXQUEUE_VIBEVOICE_MODEL", _TRANSFORMERS)]
        case "vits":
            return [_model(tts, engine, name, "VOXQUEUE_VITS_MODELS", _VITS) for name in settings.vits.models.values()]
    return []


def locate(model: Model, settings: ModelsSettings) -> Path:
    """The folder of a model on this machine, with everything in it that loading needs. Asks no server.

    Raises:
        EngineUnusable: It is not here, or not all of it. The detail says how to get it.
    """
    if model.folder is not None:
        return _complete(model, model.folder)
    if model.repo is None:
        raise EngineUnusable(f"{model.name} is a model of the server of {model.engine}, not of this machine.")
    folder = hub.cached(model.repo, model.files, settings.dir)
    if folder is None:
        raise EngineUnusable(
            f"{_title(model)} is not on this machine, or only a part of it: `voxqueue models pull`, or name a folder "
            f"in {model.setting}."
        )
    return _complete(model, folder)


def fetch(model: Model, settings: ModelsSettings, on_progress: Callable[[float], None] = lambda share: None) -> Path:
    """Get a model from the hub, or what is lacking of it, and return its folder.

    Args:
        on_progress: Told how much of what was lacking is here, from 0 to 1. It is called from other threads, never
            from two at once.

    Raises:
        EngineUnusable: Why it could not be fetched, and what to do. A folder that the setting names cannot be fetched.
    """
    if model.repo is not None:
        hub.download(model.repo, model.files, settings.dir, on_progress)
    return locate(model, settings)


def provide(model: Model, settings: ModelsSettings, on_progress: Callable[[float], None] = lambda share: None) -> Path:
    """The folder of a model, for an engine that loads it: fetched first if it is missing and the settings allow that.

    Raises:
        EngineUnusable: As `locate` and `fetch`.
    """
    try:
        return locate(model, settings)
    except EngineUnusable:
        if not settings.download or model.repo is None:
            raise
    return fetch(model, settings, on_progress)


def size_of(model: Model, folder: Path) -> int:
    """Bytes on the disk of what an engine may read of a model."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in paths if _matches(path.relative_to(folder).as_posix(), model.files))


def _model(
    stage: Stage, engine: str, name: str, setting: str, files: _Files, sizes: Mapping[str, str] | None = None
) -> Model:
    """A model that the setting names as a folder, as a repository, or as one of the sizes."""
    folder = Path(name).expanduser()
    repo = (sizes or {}).get(name) or (name if _ON_THE_HUB.fullmatch(name) else None)
    if folder.is_dir():
        repo = None
    return Model(stage, engine, name, setting, repo, None if repo else folder, files.fetched, files.needed)


def _title(model: Model) -> str:
    return model.name if model.repo in (None, model.name) else f"{model.name} ({model.repo})"


def _complete(model: Model, folder: Path) -> Path:
    """The folder, if everything is in it that loading needs."""
    if not folder.is_dir():
        sizes = f", a size ({', '.join(WHISPER_SIZES)})" if model.engine == "faster_whisper" else ""
        raise EngineUnusable(
            f"There is no folder {folder}: {model.setting} names a folder, a model on the hub (owner/name){sizes}."
        )
    lacking = [pattern for pattern in model.needed if not any(path.is_file() for path in folder.glob(pattern))]
    lacking = lacking or _lacking_shards(folder)
    if lacking:
        others = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise EngineUnusable(
            f"{_title(model)} has no {', '.join(lacking[:3])}{others} in {folder}: {model.engine} cannot load it. "
            f"{'Try `voxqueue models pull`' if model.repo else 'Complete the folder'}, or name another model in "
            f"{model.setting}."
        )
    return folder


def _lacking_shards(folder: Path) -> list[str]:
    """What the weights consist of, by their own index, and is not there."""
    lacking = set()
    for index in folder.glob(_SHARDS):
        try:
            shards = set(json.loads(index.read_bytes())["weight_map"].values())
        except (ValueError, KeyError, AttributeError, TypeError):
            raise EngineUnusable(f"{index} is damaged: fetch or copy the model again.") from None
        lacking |= {shard for shard in shards if not (folder / shard).is_file()}
    return sorted(lacking)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)
