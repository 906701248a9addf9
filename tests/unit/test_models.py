"""Which models the settings ask for, and whether what lies on this machine is enough to load them."""

import json
from pathlib import Path

import pytest

from voxqueue.errors import EngineUnusable
from voxqueue.models import WHISPER_SIZES, Model, engine_models, fetch, locate, models_of, provide, size_of
from voxqueue.settings import ENGINES, ModelsSettings, Settings
from voxqueue.stages import Stage
from workers.engines import registry

pytestmark = pytest.mark.unit

WHISPER_FILES = ("model.bin", "config.json", "tokenizer.json", "vocabulary.json")
TORCH_FILES = ("config.json", "model.safetensors", "tokenizer.json")


@pytest.fixture(autouse=True)
def defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VOXQUEUE_ENGINES", "VOXQUEUE_WHISPER_MODEL", "VOXQUEUE_STT_ENGINES", "VOXQUEUE_VITS_MODELS"):
        monkeypatch.delenv(name, raising=False)


def whisper(name: str) -> Model:
    return engine_models(Settings.model_validate({"whisper": {"model": name}}), "faster_whisper")[0]


def folder_of(where: Path, *files: str) -> Path:
    where.mkdir(parents=True, exist_ok=True)
    for file in files:
        (where / file).write_bytes(b"12345")
    return where


def refusal(model: Model, settings: ModelsSettings | None = None) -> str:
    with pytest.raises(EngineUnusable) as refused:
        locate(model, settings or ModelsSettings())
    assert "\n" not in refused.value.detail, "a person reads this in one line of a report"
    return refused.value.detail


def test_the_whisper_sizes_lie_where_faster_whisper_looks_for_them() -> None:
    """Else a size would be fetched from a repository that is another model's, or that has moved."""
    utils = pytest.importorskip("faster_whisper.utils")
    assert utils._MODELS == WHISPER_SIZES


def test_a_setting_names_a_size_a_model_on_the_hub_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert whisper("small").repo == "Systran/faster-whisper-small"
    assert whisper("owner/name").repo == "owner/name"
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = folder_of(tmp_path / "mine", *WHISPER_FILES)
    for name in (str(folder), "~/mine"):
        assert (whisper(name).repo, whisper(name).folder) == (None, folder)
        assert locate(whisper(name), ModelsSettings()) == folder


def test_a_folder_that_is_there_wins_over_a_model_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a relative path such as models/whisper would be looked for on the hub."""
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "owner" / "name", *WHISPER_FILES)
    folder_of(tmp_path / "small", *WHISPER_FILES)
    for name in ("owner/name", "small"):
        assert locate(whisper(name), ModelsSettings()) == Path(name)


def test_every_configured_engine_is_asked_for_its_models() -> None:
    settings = Settings.model_validate(
        {
            "stt": {"engines": "parakeet,faster_whisper,pocketsphinx"},
            "llm": {"engines": "ollama,openai,transformers,echo"},
            "tts": {"engines": "pocket_tts,vibevoice,vits,espeak"},
            "vits": {
                "models": {"en": "facebook/mms-tts-eng", "de": "facebook/mms-tts-deu", "en-gb": "facebook/mms-tts-eng"}
            },
        }
    )
    assert [(model.stage, model.engine, model.name) for model in models_of(settings)] == [
        (Stage.STT, "parakeet", settings.parakeet.model),
        (Stage.STT, "faster_whisper", "small"),
        (Stage.LLM, "ollama", "llama3.2"),
        (Stage.LLM, "openai", "its only model"),
        (Stage.LLM, "transformers", settings.transformers.model),
        (Stage.TTS, "pocket_tts", settings.pocket.model),
        (Stage.TTS, "pocket_tts", settings.pocket.codec),
        (Stage.TTS, "vibevoice", settings.vibevoice.model),
        (Stage.TTS, "vits", "facebook/mms-tts-eng"),
        (Stage.TTS, "vits", "facebook/mms-tts-deu"),
    ]
    assert [model.name for model in engine_models(settings, "vits")] == list(settings.vits.models.values())
    assert [model.engine for model in models_of(settings) if model.served] == ["ollama", "openai"]
    assert models_of(Settings(engines="fake")) == []


def test_the_settings_that_are_named_exist() -> None:
    """Else an error would tell people to set a variable that nobody reads."""
    from voxqueue.cli.settings import groups

    known = {setting.variable for group in groups(Settings.model_construct()) for setting in group.settings}
    engines = ("faster_whisper", "parakeet", "ollama", "openai", "transformers", "pocket_tts", "vibevoice", "vits")
    for engine in engines:
        named = {model.setting for model in engine_models(Settings(), engine)}
        assert named, engine
        assert named <= known


def test_a_word_that_is_no_size_and_no_folder_is_refused_with_the_sizes() -> None:
    words = refusal(whisper("smal"))
    assert "There is no folder smal" in words
    assert "VOXQUEUE_WHISPER_MODEL" in words
    assert "large-v3-turbo" in words


def test_every_engine_of_the_workers_is_known_by_name() -> None:
    """Else every process takes a newcomer for a misspelt name."""
    assert {stage: set(names) for stage, names in ENGINES.items()} == {
        stage: set(engines) for stage, engines in registry.ENGINES.items()
    }


@pytest.mark.parametrize("lacking", WHISPER_FILES)
def test_a_folder_without_a_needed_file_is_refused_with_its_name(tmp_path: Path, lacking: str) -> None:
    """Without its tokenizer, for one, faster_whisper would ask the hub for it."""
    folder = folder_of(tmp_path, *(file for file in WHISPER_FILES if file != lacking))
    words = refusal(whisper(str(folder)))
    assert f"has no {lacking.replace('vocabulary.json', 'vocabulary.*')} in {folder}" in words


def test_weights_in_several_files_must_all_be_there(tmp_path: Path) -> None:
    """Else a copy that broke off would be found out only when the worker has read the first gigabytes."""
    shards = [f"model-0000{number}-of-00005.safetensors" for number in range(1, 6)]
    folder = folder_of(tmp_path, *TORCH_FILES[::2], shards[0])
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {f"layer.{shard}": shard for shard in shards}}))
    settings = Settings.model_validate({"transformers": {"model": str(folder)}})
    model = engine_models(settings, "transformers")[0]
    words = refusal(model)
    assert f"{shards[1]}, {shards[2]}, {shards[3]} and 1 more" in words
    folder_of(folder, *shards)
    assert locate(model, ModelsSettings()) == folder
    index.write_text("half a fi")
    assert "is damaged" in refusal(model)


def test_pickled_weights_are_no_weights(tmp_path: Path) -> None:
    """Loading them can run code that somebody wrote into them."""
    folder = folder_of(tmp_path, "config.json", "tokenizer.json", "pytorch_model.bin")
    settings = Settings.model_validate({"transformers": {"model": str(folder)}})
    assert "has no *.safetensors" in refusal(engine_models(settings, "transformers")[0])


def test_a_model_that_is_not_here_is_refused_with_what_to_do(tmp_path: Path) -> None:
    words = refusal(whisper("small"), ModelsSettings(dir=tmp_path))
    assert words.startswith("small (Systran/faster-whisper-small) is not on this machine")
    assert "`voxqueue models pull`" in words
    assert "VOXQUEUE_WHISPER_MODEL" in words
    assert not list(tmp_path.iterdir()), "to look is not to write"


def test_a_name_that_the_hub_cannot_have_is_refused(tmp_path: Path) -> None:
    assert "is no name of a model on the hub" in refusal(whisper("owner/na--me"), ModelsSettings(dir=tmp_path))


def test_a_folder_is_never_fetched(tmp_path: Path) -> None:
    """Else a typing error in a path would become a download."""
    with pytest.raises(EngineUnusable, match="There is no folder"):
        fetch(whisper(str(tmp_path / "none")), ModelsSettings())
    with pytest.raises(EngineUnusable, match="There is no folder"):
        provide(whisper(str(tmp_path / "none")), ModelsSettings(download=True))


def test_the_size_counts_what_an_engine_reads(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *WHISPER_FILES, "README.md", "model.onnx")
    assert size_of(whisper(str(folder)), folder) == 5 * len(WHISPER_FILES)
