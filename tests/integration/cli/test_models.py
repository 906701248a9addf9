"""``voxqueue models`` against a hub and an Ollama server on loopback: what is listed, what is fetched, what is said."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import ROOT
from tests.wire import Asked, Said, serving
from tests.wire_hub import Hub, hub_with
from voxqueue.embedded.processes import free_port
from voxqueue.errors import EngineUnusable
from voxqueue.models import Model, engine_models, fetch, locate, provide
from voxqueue.settings import ModelsSettings, Settings

pytestmark = pytest.mark.integration

REPO = "Systran/faster-whisper-tiny"
FILES = {
    "model.bin": bytes(range(256)) * 2_000,
    "config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    "vocabulary.txt": b"a\nb\n",
}
WHISPER_ONLY = {
    "VOXQUEUE_WHISPER_MODEL": "tiny",
    "VOXQUEUE_STT_ENGINES": "faster_whisper",
    "VOXQUEUE_LLM_ENGINES": "echo",
    "VOXQUEUE_TTS_ENGINES": "espeak",
}
OLLAMA_ONLY = {**WHISPER_ONLY, "VOXQUEUE_STT_ENGINES": "pocketsphinx", "VOXQUEUE_LLM_ENGINES": "ollama"}


def models(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``voxqueue models``, with nothing of this process's settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("VOXQUEUE_", "HF_"))}
    argv = [sys.executable, "-m", "voxqueue", "models", *words]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT, env={**ours, **env})


def one_line(ran: subprocess.CompletedProcess[str]) -> str:
    assert ran.returncode == 1, ran.stderr
    assert ran.stderr.startswith("Error: "), ran.stderr
    assert ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_with({REPO: {**FILES, "README.md": b"read me", "pytorch_model.bin": b"pickle"}}) as hub:
        yield hub


@pytest.fixture
def env(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """Settings for a machine with an empty cache."""
    return {
        **WHISPER_ONLY,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path),
        "VOXQUEUE_MODELS_DIR": str(tmp_path / "m"),
    }


# --- the hub ----------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_fetched_once_and_then_found_without_the_hub(hub: Hub, env: dict[str, str]) -> None:
    before = models(**env)
    assert before.returncode == 1, "the first engine of speech to text lacks its model"
    assert "missing" in before.stdout
    assert "`voxqueue models pull`" in before.stdout
    assert not hub.wire.asked, "to list is to look at this machine only"

    pulled = models("pull", **env)
    assert pulled.returncode == 0, pulled.stderr
    assert "tiny: 100%" in pulled.stderr
    assert pulled.stdout.startswith("tiny: 512.0 kB at ")
    assert hub.fetched() == set(FILES), "neither the readme nor pickled weights"

    after = models("--json", **env, HF_HUB_OFFLINE="1")
    assert (after.returncode, after.stderr) == (0, "")
    [found] = json.loads(after.stdout)
    assert (found["state"], found["stage"], found["engine"]) == ("present", "stt", "faster_whisper")
    assert found["size"] == sum(map(len, FILES.values()))
    assert (Path(found["place"]) / "model.bin").read_bytes() == FILES["model.bin"]
    assert "already here" in models("pull", "tiny", **env).stderr
    assert not hub.wire.asked


def test_a_download_that_broke_off_counts_as_missing_and_is_taken_up_again(hub: Hub, env: dict[str, str]) -> None:
    """Else a worker would find half a model and fail when it loads it."""
    hub.refused = {f"{REPO}/model.bin"}
    assert "(403)" in models("pull", **env).stderr
    there = {path.name for path in Path(env["VOXQUEUE_MODELS_DIR"]).rglob("snapshots/*/*")}
    assert "config.json" in there, "the test is about a part of a model"
    assert "model.bin" not in there
    listed = models(**env)
    assert (listed.returncode, listed.stdout.count("missing")) == (1, 1)
    tag = hub.tag(REPO, "model.bin")
    blobs = Path(env["VOXQUEUE_MODELS_DIR"]) / "models--Systran--faster-whisper-tiny" / "blobs"
    for name in (tag, "of-another-download"):
        (blobs / f"{name}.0a1b2c3d.incomplete").write_bytes(b"what a killed process has left")
    hub.refused = set()
    hub.fetched()
    assert models("pull", **env).returncode == 0
    assert [path.name for path in blobs.glob("*.incomplete")] == ["of-another-download.0a1b2c3d.incomplete"]
    assert hub.fetched() == set(FILES) - there
    assert "present" in models(**env).stdout


def test_a_terminal_gets_a_bar(env: dict[str, str]) -> None:
    ran = models("pull", **env, FORCE_COLOR="1", TERM="xterm")
    assert ran.returncode == 0, ran.stderr
    assert "━" in ran.stderr


@pytest.mark.parametrize(
    ("env_name", "value", "said"),
    [
        ("HF_ENDPOINT", "http://127.0.0.1:{port}", "cannot be reached"),
        ("HF_HUB_OFFLINE", "1", "HF_HUB_OFFLINE"),
        ("VOXQUEUE_WHISPER_MODEL", "nobody/nothing", "check its name, or set HF_TOKEN"),
        ("VOXQUEUE_WHISPER_MODEL", "/none/such", "There is no folder /none/such"),
        ("VOXQUEUE_MODELS_DIR", "/proc/models", "VOXQUEUE_MODELS_DIR"),
    ],
)
def test_what_stands_in_the_way_is_one_line(env: dict[str, str], env_name: str, value: str, said: str) -> None:
    ran = models("pull", **{**env, env_name: value.format(port=free_port())})
    assert said in one_line(ran)


def test_what_stands_in_the_way_of_all_is_said_once_with_the_engines_it_concerns(env: dict[str, str]) -> None:
    """Without a network, the same sentence for each model hides the one about Ollama."""
    more = {"VOXQUEUE_LLM_ENGINES": "ollama", "VOXQUEUE_TTS_ENGINES": "pocket_tts,espeak"}
    nobody = {
        "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "VOXQUEUE_OLLAMA_URL": f"http://127.0.0.1:{free_port()}",
    }
    ran = models("pull", **{**env, **more, **nobody})
    assert ran.returncode == 1
    hub, ollama = ran.stderr.splitlines()
    assert hub.startswith(f"Error: faster_whisper, pocket_tts: {nobody['HF_ENDPOINT']} cannot be reached")
    assert ollama.startswith("Error: ollama: ")


def test_a_gated_model_is_refused_with_where_to_accept_its_licence(hub: Hub, env: dict[str, str]) -> None:
    hub.gated = {REPO}
    said = one_line(models("pull", **env))
    assert f"accept its licence at {hub.url}/{REPO} and set HF_TOKEN" in said


def test_a_repository_without_what_the_engine_needs_is_refused(hub: Hub, env: dict[str, str]) -> None:
    """For example the original weights instead of their CTranslate2 conversion."""
    del hub.repos[REPO]["model.bin"]
    ran = models("pull", **env)
    assert ran.returncode == 1
    assert "has no model.bin" in ran.stderr.splitlines()[-1]


def test_a_hub_that_is_out_of_order_is_one_line(hub: Hub, env: dict[str, str]) -> None:
    hub.status = 418  # it retries on those that may pass
    assert "answered 418" in one_line(models("pull", **env))


def test_a_disk_that_is_too_small_is_noticed_before_anything_is_fetched(hub: Hub, env: dict[str, str]) -> None:
    hub.claimed_size = 10**18
    said = one_line(models("pull", **env))
    assert "4000000000.0 GB" in said
    assert "make room" in said
    assert not hub.fetched()


def test_names_choose_what_is_fetched(hub: Hub, env: dict[str, str]) -> None:
    both = {**env, "VOXQUEUE_LLM_ENGINES": "transformers", "VOXQUEUE_TRANSFORMERS_MODEL": "nobody/nothing"}
    for name in ("tiny", REPO, "faster_whisper"):
        assert models("pull", name, **both).returncode == 0
    said = one_line(models("pull", "large", **both))
    assert "Those that are needed: tiny, nobody/nothing." in said
    everything = models("pull", **both)
    assert everything.returncode == 1
    assert "tiny is already here" in everything.stderr, "one that fails does not keep the others from being fetched"


def test_the_status_goes_by_the_first_engine_of_each_stage(env: dict[str, str]) -> None:
    """A deployment script asks whether what is wanted is here; a stand-by may be missing."""
    assert models(**{**env, "VOXQUEUE_STT_ENGINES": "pocketsphinx,faster_whisper"}).returncode == 0
    assert models(**{**env, "VOXQUEUE_STT_ENGINES": "faster_whisper,pocketsphinx"}).returncode == 1


def test_engines_that_need_no_models_are_said_to(env: dict[str, str]) -> None:
    ran = models(**env, VOXQUEUE_ENGINES="fake")
    assert (ran.returncode, ran.stdout) == (0, "The configured engines need no models.\n")


# --- in the worker's process ------------------------------------------------------------------------------------------


@pytest.fixture
def model(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    """The model, in a process that asks the hub on loopback."""
    constants = pytest.importorskip("huggingface_hub.constants")
    from huggingface_hub import close_session

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield engine_models(Settings.model_validate({"whisper": {"model": "tiny"}}), "faster_whisper")[0]
    close_session()


def test_a_worker_fetches_only_if_the_settings_allow_it(hub: Hub, model: Model, tmp_path: Path) -> None:
    with pytest.raises(EngineUnusable, match="is not on this machine"):
        provide(model, ModelsSettings(dir=tmp_path))
    assert not hub.wire.asked
    shares: list[float] = []
    settings = ModelsSettings(dir=tmp_path, download=True)
    folder = provide(model, settings, shares.append)
    assert folder == locate(model, settings) == provide(model, ModelsSettings(dir=tmp_path))
    assert shares == sorted(set(shares)), "progress never goes backwards"
    assert shares[-1] == 1.0


def test_a_disk_that_fills_up_meanwhile_is_said_so(model: Model, tmp_path: Path) -> None:
    def fill_up(share: float) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(EngineUnusable, match=r"The disk is full: make room for Systran/faster-whisper-tiny"):
        fetch(model, ModelsSettings(dir=tmp_path), fill_up)


# --- servers of others ------------------------------------------------------------------------------------------------


def test_what_an_openai_server_has_is_listed_with_its_address() -> None:
    """Else nobody sees that notes leave the machine, and for where."""
    openai = {**OLLAMA_ONLY, "VOXQUEUE_LLM_ENGINES": "openai", "VOXQUEUE_OPENAI_MODEL": "gpt-7"}
    listed = models(**openai)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.split() == ["llm", "openai", "remote", "gpt-7", "https://api.openai.com/v1"]
    own = {**openai, "VOXQUEUE_OPENAI_URL": "http://user:word@vllm:8000/v1", "VOXQUEUE_OPENAI_MODEL": ""}
    [found] = json.loads(models("--json", **own).stdout)
    assert (found["engine"], found["state"], found["place"]) == ("openai", "remote", "http://vllm:8000/v1")
    pulled = models("pull", **openai)
    assert (pulled.returncode, pulled.stderr) == (0, "gpt-7 is served: https://api.openai.com/v1\n")


def test_an_engine_that_does_not_exist_is_refused_with_those_that_do() -> None:
    """Else it looks as if nothing were missing, until a worker starts."""
    for words in ((), ("pull",), ("--json",)):
        said = one_line(models(*words, **{**OLLAMA_ONLY, "VOXQUEUE_STT_ENGINES": "faster-whisper,pocketsphinx"}))
        assert "No stt engine is called 'faster-whisper'" in said
        assert "faster_whisper, parakeet, pocketsphinx" in said


# --- Ollama -----------------------------------------------------------------------------------------------------------


class Ollama:
    """A server that has `sizes`, and answers a pull with `news`."""

    def __init__(self, news: list[dict[str, object]], status: int = 200) -> None:
        self.sizes: dict[str, int] = {}
        self.news, self.status = news, status

    def answer(self, asked: Asked) -> Said:
        if asked.path == "/api/tags":
            return Said.json({"models": [{"name": name, "size": size} for name, size in self.sizes.items()]})
        if self.news[-1].get("status") == "success":
            self.sizes[f"{json.loads(asked.body)['model']}:latest"] = 2_000_000_000
        return Said(self.status, "\n".join(map(json.dumps, self.news)).encode())


def test_an_ollama_model_is_pulled_by_its_server() -> None:
    ollama = Ollama(
        [
            {"status": "pulling manifest"},
            {"status": "pulling a", "digest": "a", "total": 900, "completed": 300},
            {"status": "pulling a", "digest": "a", "total": 900, "completed": 900},
            {"status": "pulling b", "digest": "b", "total": 100},
            {"status": "verifying sha256 digest"},
            {"status": "success"},
        ]
    )
    with serving(ollama.answer) as wire:
        env = {**OLLAMA_ONLY, "VOXQUEUE_OLLAMA_URL": f"{wire.url}/"}
        before = models(**env)
        pulled = models("pull", **env)
        after = models(**env)
    assert before.returncode == 1
    assert "ollama pull llama3.2" in before.stdout
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stderr.splitlines() == ["  llama3.2: 33%", "  llama3.2: 100%"]
    assert after.returncode == 0
    assert "present" in after.stdout
    assert "2.0 GB" in after.stdout


@pytest.mark.parametrize(
    ("news", "status", "said"),
    [
        ([{"error": "pull model manifest: file does not exist"}], 200, "file does not exist"),
        ([{"error": "invalid model name"}], 400, "invalid model name"),
        ([{"status": "pulling manifest"}], 200, "stopped without saying why"),
    ],
)
def test_a_pull_that_fails_is_one_line(news: list[dict[str, object]], status: int, said: str) -> None:
    with serving(Ollama(news, status).answer) as wire:
        assert said in one_line(models("pull", **OLLAMA_ONLY, VOXQUEUE_OLLAMA_URL=wire.url))


def test_a_server_that_does_not_answer_is_told_from_a_missing_model() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    listed = models(**OLLAMA_ONLY, VOXQUEUE_OLLAMA_URL=nobody)
    assert listed.returncode == 1
    assert "unreachable" in listed.stdout
    assert "ollama serve" in one_line(models("pull", **OLLAMA_ONLY, VOXQUEUE_OLLAMA_URL=nobody))
    with serving(lambda asked: Said.json({"hello": "world"})) as wire:
        assert "is no Ollama" in models(**OLLAMA_ONLY, VOXQUEUE_OLLAMA_URL=wire.url).stdout
