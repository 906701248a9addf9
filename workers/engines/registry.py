"""Which engines exist. To add one: a file in ``engines/<stage>/``, a line here, its name in
`voxqueue.settings.engines`."""

from importlib import import_module

from voxqueue.settings import Settings, unknown_engine
from voxqueue.stages import Stage
from workers.engines.base import AnyEngine

# Modules are named, not imported: an engine whose runtime is not installed must not keep the others from loading.
ENGINES: dict[Stage, dict[str, str]] = {
    Stage.STT: {
        "faster_whisper": "workers.engines.stt.faster_whisper:FasterWhisperEngine",
        "parakeet": "workers.engines.stt.parakeet:ParakeetEngine",
        "pocketsphinx": "workers.engines.stt.pocketsphinx:PocketsphinxEngine",
        "fake": "workers.engines.stt.fake:FakeSttEngine",
    },
    Stage.LLM: {
        "ollama": "workers.engines.llm.ollama:OllamaEngine",
        "openai": "workers.engines.llm.openai:OpenaiEngine",
        "transformers": "workers.engines.llm.transformers:TransformersEngine",
        "echo": "workers.engines.llm.echo:EchoEngine",
        "fake": "workers.engines.llm.fake:FakeLlmEngine",
    },
    Stage.TTS: {
        "pocket_tts": "workers.engines.tts.pocket_tts:PocketTtsEngine",
        "vibevoice": "workers.engines.tts.vibevoice:VibevoiceEngine",
        "vits": "workers.engines.tts.vits:VitsEngine",
        "espeak": "workers.engines.tts.espeak:EspeakEngine",
        "fake": "workers.engines.tts.fake:FakeTtsEngine",
    },
}


def create_engine(stage: Stage, name: str, settings: Settings) -> AnyEngine:
    """Make the engine, not loaded yet.

    Raises:
        MisconfiguredError: There is no such engine for this stage.
    """
    try:
        module, _, attribute = ENGINES[stage][name].partition(":")
    except KeyError:
        raise unknown_engine(stage, name) from None
    engine: AnyEngine = getattr(import_module(module), attribute)(settings)
    return engine
