"""docker-compose.yml, its two examples and the Dockerfile, held against the code that they run."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from voxqueue.cli.settings import groups
from voxqueue.embedded.processes import free_port
from voxqueue.settings import Settings
from voxqueue.stages import Stage

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENV_EXAMPLE = (ROOT / ".env.example").read_text("utf-8")
SETTINGS_EXAMPLE = (ROOT / "voxqueue.env.example").read_text("utf-8")


def variables(example: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Z0-9_]+)=(.*)$", example, re.MULTILINE))


EXAMPLE = variables(ENV_EXAMPLE)
EXAMPLE_SETTINGS = variables(SETTINGS_EXAMPLE)
KNOWN = {setting.variable for group in groups(Settings.model_construct()) for setting in group.settings}
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("${IMAGE:-voxqueue}:")}
ONCE = {"migrate", "bucket"}
ANSWERS = ROOT / "deploy" / "docker" / "answers"

_REFERENCE = re.compile(r"\$\{(\w+)(?::[?-][^}]*)?\}")
_REQUIRED = re.compile(r"\$\{\w+:\?[^}]+\}")
_SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|AUTH|API_KEY$")
_BY_DATABASE = {"VOXQUEUE_DATABASE_URL": "POSTGRES_PASSWORD"}
_BY_REDIS = {"VOXQUEUE_REDIS_URL": "REDIS_PASSWORD"}
_BY_S3 = {"VOXQUEUE_S3_SECRET_ACCESS_KEY": "S3_PASSWORD"}
_BY_ALL = _BY_DATABASE | _BY_REDIS | _BY_S3
_MODELS = _BY_ALL | {"HF_TOKEN": "HF_TOKEN"}
SECRETS_OF = {
    "postgres": {"POSTGRES_PASSWORD": "POSTGRES_PASSWORD"},
    "redis": {"REDISCLI_AUTH": "REDIS_PASSWORD"},
    "seaweedfs": {"AWS_SECRET_ACCESS_KEY": "S3_PASSWORD", "WEED_JWT_FILER_SIGNING_KEY": "S3_PASSWORD"},
    "migrate": _BY_DATABASE,
    "bucket": _BY_S3,
    "api": _BY_ALL,
    "courier": _BY_ALL,
    "worker-llm": _BY_ALL | {"VOXQUEUE_OPENAI_API_KEY": "VOXQUEUE_OPENAI_API_KEY"},
    "worker-stt": _MODELS,
    "worker-tts": _MODELS,
    "worker-stt-gpu": _MODELS,
    "worker-tts-gpu": _MODELS,
    "flower": _BY_REDIS | {"VOXQUEUE_FLOWER_BASIC_AUTH": "FLOWER_PASSWORD"},
    "grafana": {"GF_SECURITY_ADMIN_PASSWORD": "GRAFANA_PASSWORD"},
}


def environment(service: dict[str, Any]) -> dict[str, str]:
    return dict(service.get("environment", {}))


def test_every_variable_is_one_that_voxqueue_reads() -> None:
    """A setting that was renamed would be passed on, ignored, and missed in production."""
    named = {name for service in SERVICES.values() for name in environment(service)} | set(EXAMPLE)
    named |= set(EXAMPLE_SETTINGS)
    named |= set(_REFERENCE.findall(TEXT))
    assert {name for name in named if name.startswith("VOXQUEUE_")} - KNOWN == set()


def test_what_compose_asks_of_the_environment_is_in_the_example() -> None:
    asked = {name for name in _REFERENCE.findall(TEXT) if name != "IMAGE"}
    assert asked - set(EXAMPLE) == set()


def test_the_example_is_what_the_settings_take(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("VOXQUEUE_")]:
        monkeypatch.delenv(name)
    for name, value in (EXAMPLE | EXAMPLE_SETTINGS).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    for stage in Stage:
        assert len(settings.engine_names(stage)) == 1, f"{stage}: a stand-in must not take over unseen in production"


def test_what_is_set_in_voxqueue_env_is_not_overruled() -> None:
    """Compose prefers its own `environment`, so that a setting which stands in both would be ignored unseen."""
    assert not set(EXAMPLE_SETTINGS) & set(EXAMPLE)
    for name in OURS:
        assert SERVICES[name]["env_file"] == "voxqueue.env", name
        assert not set(EXAMPLE_SETTINGS) & set(environment(SERVICES[name])), name


def test_each_service_gets_its_own_secrets_alone() -> None:
    secrets = {name for name in EXAMPLE if _SECRET.search(name)}
    got: dict[str, dict[str, str]] = {}
    for name, service in SERVICES.items():
        for variable, value in environment(service).items():
            for secret in secrets & set(_REFERENCE.findall(value)):
                got.setdefault(name, {})[variable] = secret
    assert got == SECRETS_OF


def test_no_secret_stands_in_the_files() -> None:
    assert {name: value for name, value in EXAMPLE.items() if _SECRET.search(name) and value} == {}
    assert not [name for name in EXAMPLE_SETTINGS if _SECRET.search(name)], "every process gets these"
    for name, service in SERVICES.items():
        for variable, value in environment(service).items():
            plain = _REQUIRED.sub("", value)
            if _SECRET.search(variable):
                optional = re.sub(r"\$\{\w+:-\}", "", plain)
                assert optional in {"", "admin:"}, f"{name} has {variable} in plain sight"
            assert not re.search(r"://[^/@:]*:[^/@]+@", plain), f"{name} has a password in {variable}"


def test_every_service_says_how_it_is_or_ends() -> None:
    for name, service in SERVICES.items():
        if name in ONCE:
            assert service["healthcheck"] == {"disable": True}
            assert service["restart"] == "no"
        else:
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name
            assert service["restart"] == "unless-stopped", name


def test_nothing_waits_for_a_service_that_may_not_run() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert "profiles" not in SERVICES[needed], f"{name} cannot start without the profile of {needed}"
            assert how["condition"] == f"service_{'completed_successfully' if needed in ONCE else 'healthy'}"


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_every_stage_is_served(profile: str) -> None:
    served = [
        service["command"][3]
        for service in SERVICES.values()
        if service.get("command", [])[:2] == ["voxqueue", "worker"] and profile in service.get("profiles", [profile])
    ]
    assert sorted(served) == sorted(Stage)


def test_the_example_runs_ollama_for_those_who_ask_it() -> None:
    assert EXAMPLE["COMPOSE_PROFILES"] == "cpu,ollama"
    assert EXAMPLE_SETTINGS["VOXQUEUE_LLM_ENGINES"] == "ollama"
    assert SERVICES["ollama"]["profiles"] == ["ollama"]
    assert SERVICES["ollama-gpu"]["profiles"] == ["ollama-gpu"]


def test_nothing_is_published_to_others_unasked() -> None:
    def where(port: str) -> str:
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", port).rpartition(":")[0]

    published = {name: [where(port) for port in service.get("ports", [])] for name, service in SERVICES.items()}
    beyond = {name for name, ports in published.items() if any(not port.startswith("127.0.0.1:") for port in ports)}
    assert not beyond
    assert {EXAMPLE[f"{name}_LISTEN"].rpartition(":")[0] for name in ("API", "S3")} == {"127.0.0.1"}


def test_images_of_others_have_their_version() -> None:
    for name in set(SERVICES) - OURS:
        assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"]), name


def test_a_container_is_killed_after_its_worker_has_had_its_grace() -> None:
    grace = Settings.model_construct().worker.grace_s
    for name, service in SERVICES.items():
        if name == "courier" or name.startswith("worker-"):
            assert int(service["stop_grace_period"].removesuffix("s")) >= 2 * grace, name


def test_ours_have_no_rights_to_lose() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_what_is_mounted_and_copied_is_there() -> None:
    mounted = {source for service in SERVICES.values() for source in service.get("volumes", [])}
    for source in {volume.split(":")[0] for volume in mounted}:
        assert source in COMPOSE["volumes"] or (ROOT / source).exists(), source
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for source in {word for line in copied for word in line.split()}:
        assert (ROOT / source).exists(), source
        assert any(source == kept or source.startswith(f"{kept}/") for kept in (it.lstrip("!") for it in ignored))


def run(*words: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, **how)


@pytest.mark.parametrize("profile", ["cpu", "gpu", "monitoring", "cpu,ollama", "gpu,ollama-gpu,monitoring"])
def test_docker_compose_understands_it(tmp_path: Path, profile: str) -> None:
    """Without a password of Grafana, which only those need who run it."""
    compose = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    if not shutil.which(compose[0]) or run(*compose, "version").returncode != 0:
        pytest.skip("docker compose is not installed")
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    (tmp_path / "voxqueue.env").write_text(SETTINGS_EXAMPLE)
    passwords = re.sub(r"(?m)^(\w+_PASSWORD)=$", r"\1=abc", ENV_EXAMPLE)
    (tmp_path / ".env").write_text(passwords.replace("GRAFANA_PASSWORD=abc\n", ""))
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COMPOSE_PROFILES": profile}
    done = run(*compose, "config", cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr


def test_grafana_finds_its_dashboards_and_prometheus() -> None:
    """A provider that looks elsewhere than where the files are mounted shows no dashboard, and only its log says so."""
    volumes = (volume.split(":") for volume in SERVICES["grafana"]["volumes"])
    mounted = {target: ROOT / source for source, target, *_ in volumes}
    provisioning = mounted["/etc/grafana/provisioning"]
    [provider] = yaml.safe_load((provisioning / "dashboards" / "voxqueue.yml").read_text("utf-8"))["providers"]
    assert list(mounted[provider["options"]["path"]].glob("*.json"))
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert all("networks" not in SERVICES[name] for name in ("grafana", "prometheus")), "both are in the default one"


def test_grafana_does_not_start_with_its_well_known_password() -> None:
    entrypoint = [word.replace("$$", "$") for word in SERVICES["grafana"]["entrypoint"]]
    done = run(*entrypoint, env={"PATH": os.environ["PATH"], "GF_SECURITY_ADMIN_PASSWORD": ""})
    assert (done.returncode, done.stderr) == (2, "Set GRAFANA_PASSWORD in .env.\n")
    started = run(*entrypoint, env={"PATH": os.environ["PATH"], "GF_SECURITY_ADMIN_PASSWORD": "abc"})
    assert "/run.sh" in started.stderr, "the shell goes on to what the image starts, which is not on this machine"


def test_hadolint_finds_no_fault_with_the_dockerfile() -> None:
    done = run(Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile")
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def web(status: int) -> Iterator[str]:
    """A server that answers every GET with this status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/livez"
    finally:
        server.shutdown()
        server.server_close()


def answers(address: str) -> int:
    return run(sys.executable, ANSWERS, address).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (204, 1), (503, 1)])
def test_a_health_check_believes_200_alone(status: int, code: int) -> None:
    with web(status) as address:
        assert answers(address) == code


def test_a_health_check_of_nobody_fails() -> None:
    assert answers(f"http://127.0.0.1:{free_port()}/livez") == 1
