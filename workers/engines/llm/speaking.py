"""What every language model is told, so that its reply can be spoken, and what is made of what it wrote.

It knows neither models nor servers.
"""

import json
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxqueue.errors import EngineFailed, EngineUnusable, VoxqueueError
from voxqueue.languages import LANGUAGES, find_language
from voxqueue.plain_text import shorten, speakable
from voxqueue.settings import LlmSettings, Settings
from voxqueue.stages import LlmRequest, LlmResult
from workers.engines.base import Ask, LlmEngine
from workers.engines.llm.structured import check_schema, read_reply

_RULES = Path(__file__).with_name("prompts") / "reply.txt"

_INSTRUCTIONS = """
The service that you speak for adds instructions for this answer. They say what to answer and in which manner; where \
they go against the rules above, the rules hold.
<instructions>
{instructions}
</instructions>
"""
_SCHEMA = """
A program reads this answer, not a voice. Answer with one JSON value that follows this JSON schema, and nothing else:
{schema}
"""

_THOUGHT = re.compile(r"<think(ing)?>.*?</think(ing)?>", re.DOTALL | re.IGNORECASE)
_HALF_A_THOUGHT = re.compile(r"\A.*</think(ing)?>|<think(ing)?>.*\Z", re.DOTALL | re.IGNORECASE)
_DELIMITER = re.compile(r"</?\s*instructions\s*>", re.IGNORECASE)
_UNSENDABLE = re.compile("[\0\ud800-\udfff]")  # half a surrogate pair is no UTF-8, and NUL ends strings elsewhere


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is told. `schema` is for runtimes that can hold the model to it."""

    system: str
    user: str
    schema: dict[str, Any] | None = None

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self.system}, {"role": "user", "content": self.user}]


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote. It is `cut` where the model had more to say than it may."""

    text: str
    cut: bool = False


class SpeakingEngine(LlmEngine[Prompt, Written]):
    """A language model that is told how to speak. Adapters write `load`, which calls this one's, and `run`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._rules = ""

    @abstractmethod
    def load(self) -> None:
        self._rules = read_rules(self.settings.llm.prompt_file)

    @abstractmethod
    def run(self, batch: Sequence[Prompt]) -> Sequence[Written | VoxqueueError]: ...

    def answer(self, request: LlmRequest, ask: Ask[Prompt, Written]) -> LlmResult:
        prompt = write_prompt(request, self._rules)
        [written] = ask([prompt])
        return read_written(written, request, self.settings.llm)

    def cost(self, piece: Prompt) -> float:
        return len(piece.system) + len(piece.user)


def read_rules(file: Path | None) -> str:
    """The system prompt: ours, or that of a file.

    Raises:
        EngineUnusable: The file cannot be read.
    """
    try:
        return (file or _RULES).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EngineUnusable(f"VOXQUEUE_LLM_PROMPT_FILE names a file that cannot be read as text: {error}") from error


def write_prompt(request: LlmRequest, rules: str) -> Prompt:
    """What a model is told of a request.

    Raises:
        EngineRefused: The request's schema is not one that we take.
    """
    system = rules.replace("{language}", _language(request.language))
    if request.instructions and request.instructions.strip():
        kept_inside = _DELIMITER.sub("", request.instructions.strip())
        system += _INSTRUCTIONS.replace("{instructions}", kept_inside)
    if request.schema is not None:
        check_schema(request.schema)
        system += _SCHEMA.replace("{schema}", json.dumps(request.schema, ensure_ascii=False))
    return Prompt(_sendable(system), _sendable(request.text), request.schema)


def read_written(written: Written, request: LlmRequest, settings: LlmSettings) -> LlmResult:
    """Make a reply of what a model wrote: text that can be spoken, or JSON where that was asked for.

    Raises:
        EngineFailed: It is no reply; another try may bring one.
    """
    text = _HALF_A_THOUGHT.sub("", _THOUGHT.sub("", written.text))
    broke_off = (
        f"The reply is longer than {settings.reply_tokens} tokens, or than the model's context, and broke off. "
        "Raise VOXQUEUE_LLM_REPLY_TOKENS, or the context."
    )
    if request.schema is not None:
        if written.cut:
            raise EngineFailed(broke_off)
        return LlmResult(*read_reply(text, request.schema))
    spoken = speakable(_sendable(text))
    longest = settings.reply_chars
    if written.cut:
        longest = max(1, min(longest, len(spoken) - 1))  # drops the sentence that breaks off
    spoken = shorten(spoken, longest, request.language)
    if re.search(r"\w", spoken):
        return LlmResult(spoken)
    raise EngineFailed(broke_off if written.cut else "The model wrote a reply without words.")


def _language(tag: str | None) -> str:
    code = find_language(tag) if tag else None
    return LANGUAGES[code] if code else "the language of the message"


def _sendable(text: str) -> str:
    return _UNSENDABLE.sub("\N{REPLACEMENT CHARACTER}", text)
