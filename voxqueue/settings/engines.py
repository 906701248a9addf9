"""Which engines there are; the groups of the stages, and one for each engine that has something to set."""

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr

from voxqueue.errors import MisconfiguredError
from voxqueue.settings.values import Names, Numbers
from voxqueue.stages import Stage

ENGINES: dict[Stage, tuple[str, ...]] = {
    Stage.STT: ("faster_whisper", "parakeet", "pocketsphinx", "fake"),
    Stage.LLM: ("ollama", "openai", "transformers", "echo", "fake"),
    Stage.TTS: ("pocket_tts", "vibevoice", "vits", "espeak", "fake"),
}
"""The engines there are, by name. Workers have them, which nothing here may import."""


def unknown_engine(stage: Stage, name: str) -> MisconfiguredError:
    """What to raise where the settings list an engine that does not exist."""
    near = get_close_matches(name.lower(), ENGINES[stage], n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    known = ", ".join(sorted(ENGINES[stage]))
    return MisconfiguredError(
        f"No {stage} engine is called {name!r}.{meant} VOXQUEUE_{stage.upper()}_ENGINES knows: {known}."
    )


class StageSettings(BaseModel):
    """One stage: which engines, in which batches."""

    engines: Names = Field((), description="Engines in order of preference; the first that warms is used")
    max_batch: int = Field(16, ge=1, description="Most pieces in one model call: windows of notes, sentences, texts")
    max_cost: float = Field(480, gt=0, description="Most seconds of audio, or characters of text, in one model call")
    deadline_s: float = Field(300, gt=0, description="Longest a piece may wait for and spend in the engine")


class SttSettings(StageSettings):
    """Speech to text. Costs are seconds of audio, padded to the longest of the batch; a window of Whisper is 30 s."""

    engines: Names = Field(
        ("faster_whisper", "pocketsphinx"),
        description="Engines in order of preference; the first that warms is used",
    )
    max_cost: float = Field(1_920, gt=0, description="Most seconds of audio in one model call")


class LlmSettings(StageSettings):
    """The language model. Costs are characters of text."""

    engines: Names = Field(
        ("ollama", "echo"), description="Engines in order of preference; the first that warms is used"
    )
    max_cost: float = Field(64_000, gt=0, description="Most characters of text in one model call")
    prompt_file: Path | None = Field(None, description="A system prompt instead of ours; `{language}` is filled in")
    reply_chars: int = Field(800, ge=1, description="Longest reply in characters")
    reply_tokens: int = Field(300, ge=1, description="Most tokens that the model may write for one reply")


class TtsSettings(StageSettings):
    """Text to speech. Costs are characters of text."""

    engines: Names = Field(
        ("pocket_tts", "espeak"), description="Engines in order of preference; the first that warms is used"
    )
    max_cost: float = Field(16_000, gt=0, description="Most characters of text in one model call")


class ModelsSettings(BaseModel):
    """Where models lie and where they run. A model is named as on the Hugging Face hub, or is a local folder."""

    dir: Path | None = Field(None, description="Where fetched models are kept; else the Hugging Face cache")
    download: bool = Field(
        False, description="Workers fetch what is missing when they start; else `voxqueue models pull` does"
    )
    device: Literal["auto", "cuda", "mps", "cpu"] = Field("auto", description="`auto` takes cuda, then mps, then cpu")
    dtype: Literal["auto", "float32", "float16", "bfloat16", "int8"] = Field(
        "auto", description="`auto`: half precision on a GPU; on a CPU float32, and int8 for faster_whisper"
    )


class WhisperSettings(BaseModel):
    """The engine `faster_whisper`."""

    model: str = Field("small", description="A size such as `large-v3`, a CTranslate2 model on the hub, or a folder")
    beam_size: int = Field(5, ge=1, description="Beams of the search; 1 is greedy")
    temperatures: Numbers = Field(
        (0.0, 0.4, 0.8), min_length=1, description="Tried in turn on windows whose text looks wrong"
    )
    short_windows: bool = Field(
        False, description="Encode no more silence than needed: faster, but models are trained on 30 s"
    )
    threads: int = Field(
        0, ge=0, description="Threads of one call on a CPU: few for many notes, many for one; 0 is few, by the cores"
    )


class ParakeetSettings(BaseModel):
    """The engine `parakeet`."""

    model: str = Field("nvidia/parakeet-tdt-0.6b-v3", description="A Parakeet CTC or TDT model on the hub, or a folder")
    languages: Names = Field((), description="What the model speaks, such as `en,de`; else what its name tells")


class OllamaSettings(BaseModel):
    """The engine `ollama`."""

    url: str = Field("http://127.0.0.1:11434", description="Where Ollama listens")
    model: str = Field("llama3.2", min_length=1, description="As `ollama list` names it")
    parallel: int = Field(1, ge=1, description="Requests at a time; what OLLAMA_NUM_PARALLEL says on the server")
    num_ctx: int = Field(4096, ge=256, description="Tokens of context, instructions included")
    pull: bool = Field(False, description="Have Ollama pull the model when a worker starts without it")
    timeout_s: float = Field(
        120, gt=0, description="Longest that one reply may take; at most half of `VOXQUEUE_LLM_DEADLINE_S`"
    )


class OpenaiSettings(BaseModel):
    """The engine `openai`: any server that speaks OpenAI's chat completions (vLLM, llama.cpp, hosted ones)."""

    url: str | None = Field(None, description="Such as `http://vllm:8000/v1`; without it, OpenAI's own")
    model: str | None = Field(None, description="As the server names it")
    api_key: SecretStr | None = Field(None, description="Where the server wants one")
    parallel: int = Field(16, ge=1, description="Requests at a time")
    timeout_s: float = Field(
        120, gt=0, description="Longest that one reply may take; at most half of `VOXQUEUE_LLM_DEADLINE_S`"
    )

    @property
    def address(self) -> str:
        return self.url or "https://api.openai.com/v1"


class TransformersSettings(BaseModel):
    """The engine `transformers`: a small instruct model in the worker's own process."""

    model: str = Field("Qwen/Qwen2.5-0.5B-Instruct", description="A model with a chat template, or a folder")


class PocketSettings(BaseModel):
    """The engine `pocket_tts`."""

    model: str = Field("eustlb/pocket-tts", description="A PocketTTS model for transformers on the hub, or a folder")
    codec: str = Field("eustlb/pocket-tts-audio-tokenizer", description="Its audio codec on the hub, or a folder")
    languages: Names = Field(("en",), min_length=1, description="What the model speaks; the first is the default")
    voice: str | None = Field(None, description="The voice where none is asked for; else the model's first")
    voices_dir: Path | None = Field(None, description="Recordings that are voices by their file names, to be cloned")


class VibevoiceSettings(BaseModel):
    """The engine `vibevoice`."""

    model: str = Field(
        "vibevoice/VibeVoice-1.5B-hf", description="A VibeVoice model for transformers on the hub, or a folder"
    )
    languages: Names = Field(("en", "zh"), min_length=1, description="What the model speaks; the first is the default")
    voice: str | None = Field(None, description="The voice where none is asked for; else the first by name")
    voices_dir: Path | None = Field(None, description="Recordings that are voices by their file names, to be cloned")


class VitsSettings(BaseModel):
    """The engine `vits`: a model per language, as Meta's MMS has them. It computes in float32 on every device."""

    models: dict[str, str] = Field(
        {"en": "facebook/mms-tts-eng"},
        min_length=1,
        description="Language to model or folder, as JSON; the first is the default",
    )


class FakeSettings(BaseModel):
    """The deterministic fake engines, for tests and for developing without models."""

    load_ms: float = Field(0, ge=0, description="How long loading takes")
    fixed_ms: float = Field(20, ge=0, description="What every model call takes")
    per_item_ms: float = Field(1, ge=0, description="What each request adds to its model call")
