"""Names in the environment that are nearly right: engines that do not exist, variables that are no settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.app import create_app
from voxqueue.cli.settings import groups
from voxqueue.errors import MisconfiguredError
from voxqueue.settings import ENGINES, Settings, settings
from voxqueue.settings.variables import unknown_variables
from voxqueue.stages import Stage

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
READ_BY_COMPOSE = ROOT / "docker-compose.yml", ROOT / "Dockerfile", *ROOT.glob("*env.example")


@pytest.fixture(autouse=True)
def nothing_read_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No engines in the environment; and what is read here, nobody else finds."""
    for stage in Stage:
        monkeypatch.delenv(f"VOXQUEUE_{stage.upper()}_ENGINES", raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


def refusal(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> str:
    """What a process says that reads such a variable."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(MisconfiguredError) as refused:
        settings()
    assert "\n" not in refused.value.detail
    return refused.value.detail


@pytest.mark.parametrize(
    ("stage", "name", "meant"),
    [
        (Stage.STT, "wisper", "faster_whisper"),
        (Stage.STT, "faster-whisper", "faster_whisper"),
        (Stage.LLM, "Ollama", "ollama"),
        (Stage.TTS, "espeak-ng", "espeak"),
    ],
)
def test_an_engine_that_does_not_exist_is_named_with_the_nearest_that_does(
    monkeypatch: pytest.MonkeyPatch, stage: Stage, name: str, meant: str
) -> None:
    """Else a worker tries for ever to warm it, beside the engines that it falls back on."""
    variable = f"VOXQUEUE_{stage.upper()}_ENGINES"
    said = refusal(monkeypatch, variable, f"fake,{name}")
    assert repr(name) in said
    assert variable in said
    assert f"Did you mean {meant}?" in said
    assert all(known in said for known in ENGINES[stage])


def test_an_engine_like_none_is_named_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refusal(monkeypatch, "VOXQUEUE_LLM_ENGINES", "gpt")
    assert "Did you mean" not in said
    assert "echo, fake, ollama, openai, transformers" in said


def test_a_stage_without_engines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its worker waits for ever for one to become warm."""
    assert "VOXQUEUE_TTS_ENGINES names no engine" in refusal(monkeypatch, "VOXQUEUE_TTS_ENGINES", " , ")


def test_a_list_that_nobody_reads_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries things out with fakes leaves the settings of production as they are."""
    monkeypatch.setenv("VOXQUEUE_STT_ENGINES", "")
    monkeypatch.setenv("VOXQUEUE_ENGINES", "fake")
    assert settings().engine_names(Stage.STT) == ("fake",)


def test_a_value_that_should_be_json_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a traceback is all that there is to read."""
    said = refusal(monkeypatch, "VOXQUEUE_VITS_MODELS", "facebook/mms-tts-eng")
    assert "VOXQUEUE_VITS" in said
    assert "JSON object" in said


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("VOXQUEUE_STT_ENGINE", "VOXQUEUE_STT_ENGINES"),
        ("VOXQUEUE_STT__ENGINES", "VOXQUEUE_STT_ENGINES"),
        ("VOXQUEUE_WHISPER_MODELL", "VOXQUEUE_WHISPER_MODEL"),
        ("voxqueue_redis_uri", "VOXQUEUE_REDIS_URL"),
        ("VOXQUEUE_LOGLEVEL", "VOXQUEUE_LOG_LEVEL"),
        ("VOXQUEUE_S3_SECRET_KEY", "VOXQUEUE_S3_SECRET_ACCESS_KEY"),
    ],
)
def test_a_misspelt_variable_is_told_with_what_was_meant(variable: str, meant: str) -> None:
    told = unknown_variables({variable: "geheim", "PATH": "/bin"})
    assert list(told) == [variable]
    assert told[variable].startswith(f"{variable} is no setting")
    assert f"Did you mean {meant}?" in told[variable]
    assert "geheim" not in told[variable]


def test_a_variable_like_none_is_told_without_a_guess() -> None:
    [said] = unknown_variables({"VOXQUEUE_PORT": "9000"}).values()
    assert "Did you mean" not in said
    assert "voxqueue settings" in said


def test_no_setting_that_there_is_is_taken_for_a_misspelt_one() -> None:
    listed = [it.variable for group in groups(Settings.model_construct()) for it in group.settings]
    assert len(listed) > 100
    assert unknown_variables(dict.fromkeys(listed, "x")) == {}
    assert unknown_variables(dict.fromkeys(map(str.lower, listed), "x")) == {}, "capitals do not matter to settings"
    assert unknown_variables({"VOXQUEUE_STT": '{"engines": "fake"}'}) == {}, "a whole group may be JSON"


def test_what_is_set_for_containers_is_known() -> None:
    """Else an installation by our own files begins with warnings."""
    found = {name for file in READ_BY_COMPOSE for name in re.findall(r"VOXQUEUE_\w+", file.read_text())}
    assert len(found) > 15
    assert unknown_variables(dict.fromkeys(found, "x")) == {}


def test_what_kubernetes_tells_of_services_with_our_name_is_no_misspelt_setting() -> None:
    told_by_kubernetes = {
        "VOXQUEUE_API_SERVICE_HOST": "10.0.0.1",
        "VOXQUEUE_API_SERVICE_PORT": "8000",
        "VOXQUEUE_API_SERVICE_PORT_HTTP": "8000",
        "VOXQUEUE_API_PORT": "tcp://10.0.0.1:8000",
        "VOXQUEUE_API_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "VOXQUEUE_API_PORT_8000_TCP_ADDR": "10.0.0.1",
        "VOXQUEUE_SERVICE_HOST": "10.0.0.1",
        "VOXQUEUE_PORT": "tcp://10.0.0.1:8000",
    }
    assert unknown_variables(told_by_kubernetes) == {}


# --- values -----------------------------------------------------------------------------------------------------------


def test_a_wrong_value_in_a_list_is_told_once_and_of_the_variable_that_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = refusal(monkeypatch, "VOXQUEUE_WEBHOOKS_PORTS", "443,x")
    assert said == "VOXQUEUE_WEBHOOKS_PORTS: must be a whole number. See `voxqueue settings --markdown`."


@pytest.mark.parametrize(
    ("name", "value"),
    [("DATABASE_URL", None), ("REDIS_URL", None), ("STORAGE_DIR", None), ("WEBHOOKS_ALLOW_NETWORKS", "home")],
)
def test_an_api_that_cannot_do_its_work_does_not_start_and_says_why(
    name: str, value: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Else the server would show a traceback, or the first request that needs it would be told of a fault of ours."""
    monkeypatch.delenv("VOXQUEUE_S3_BUCKET", raising=False)
    enough = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h/0", "STORAGE_DIR": str(tmp_path)}
    for setting, given in {**enough, name: value}.items():
        if given is None:
            monkeypatch.delenv(f"VOXQUEUE_{setting}", raising=False)
        else:
            monkeypatch.setenv(f"VOXQUEUE_{setting}", given)
    with pytest.raises(SystemExit):
        create_app()
    said = capsys.readouterr().err
    assert f"VOXQUEUE_{name}" in said
    assert (said.startswith("Error: "), said.count("\n")) == (True, 1)
