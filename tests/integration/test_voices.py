"""The voices of the fleet: what workers tell of them, the list, and names that nobody has."""

from collections.abc import Iterator

import httpx
import pytest
import redis

from tests.integration.conftest import serving
from tests.problems import fields, refused
from voxqueue.fleet import Fleet, Voice, VoicesReport, WorkerReport
from voxqueue.settings import RedisSettings, Settings, TtsSettings, WorkerSettings
from voxqueue.stages import Stage
from workers.warmup import Warmup

pytestmark = pytest.mark.integration

POCKET = VoicesReport(
    engine="pocket_tts", model="kyutai/pocket-tts", voices=[Voice(name="alba"), Voice(name="Gustav", language="de")]
)
ESPEAK = VoicesReport(
    engine="espeak", model="espeak-ng", voices=[Voice(name="de", language="de")], variants=["f3", "f4"]
)
ANY = VoicesReport(engine="fake", model="fake", voices=[])
PREFIX = "voices-test"


@pytest.fixture
def settings(api_settings: Settings) -> Settings:
    """With keys of this module's own, and workers that are gone when they have been silent for a short while."""
    assert api_settings.redis.url is not None
    redis_settings = RedisSettings(url=api_settings.redis.url, prefix=PREFIX)
    return api_settings.model_copy(update={"redis": redis_settings, "worker": WorkerSettings(heartbeat_ttl_s=20)})


@pytest.fixture
def server(settings: Settings) -> Iterator[redis.Redis]:
    """The module's Redis, empty of voices before and after."""
    assert settings.redis.url is not None
    with redis.Redis.from_url(settings.redis.url, decode_responses=True) as server:
        yield server
        for key in server.scan_iter(f"{PREFIX}:*"):
            server.delete(key)


@pytest.fixture
def fleet(settings: Settings, server: object) -> Iterator[Fleet]:
    fleet = Fleet(settings.redis, settings.worker)
    yield fleet
    fleet.close()


def report(worker: str) -> WorkerReport:
    return WorkerReport(worker=worker, host="h", pid=1)


def sets(server: redis.Redis) -> int:
    """How often something was set since the statistics were reset."""
    stats: dict[str, dict[str, int]] = server.info("commandstats")
    return stats.get("cmdstat_set", {}).get("calls", 0)


# --- what workers tell ------------------------------------------------------------------------------------------------


def test_a_list_is_sent_once_and_kept_alive(fleet: Fleet, server: redis.Redis) -> None:
    fleet.beat(report("a"))
    assert fleet.voices() == []
    fleet.beat(report("a"), POCKET)
    server.config_resetstat()
    server.pexpire(f"{PREFIX}:voices:a", 5_000)
    fleet.beat(report("a"), POCKET)
    fleet.beat(report("a"), POCKET)
    assert sets(server) == 2, "the two reports, and no list"
    assert server.pttl(f"{PREFIX}:voices:a") > 15_000, "it lives as long as the reports do"
    assert fleet.voices() == [POCKET]


def test_a_list_comes_back_after_redis_was_flushed_and_when_it_has_changed(fleet: Fleet, server: redis.Redis) -> None:
    fleet.beat(report("a"), POCKET)
    for key in server.scan_iter(f"{PREFIX}:*"):
        server.delete(key)
    fleet.beat(report("a"), POCKET)
    assert fleet.voices() == [POCKET]
    fleet.beat(report("a"), ESPEAK)
    assert fleet.voices() == [ESPEAK]


def test_a_successor_of_the_same_name_does_not_keep_the_old_list(settings: Settings, fleet: Fleet) -> None:
    fleet.beat(report("a"), POCKET)
    successor = Fleet(settings.redis, settings.worker)
    successor.beat(report("a"), ESPEAK)
    assert fleet.voices() == [ESPEAK]
    successor.close()


def test_who_leaves_takes_the_voices_along(fleet: Fleet) -> None:
    fleet.beat(report("a"), POCKET)
    fleet.beat(report("b"), ESPEAK)
    fleet.leave("a")
    assert fleet.voices() == [ESPEAK]
    fleet.leave("b")
    assert fleet.voices() == []


@pytest.mark.parametrize(
    ("voices", "known", "unknown"),
    [
        (POCKET, ["alba", "ALBA", "gustav"], ["", "anna", "alba+f3"]),
        (ESPEAK, ["de", "de+f3", "DE+F4"], ["en", "de+f5", "de+", "+f3", "f3"]),
        (ANY, ["anything", ""], []),
    ],
)
def test_which_names_a_worker_knows(voices: VoicesReport, known: list[str], unknown: list[str]) -> None:
    assert [voices.knows(name) for name in known] == [True] * len(known)
    assert [voices.knows(name) for name in unknown] == [False] * len(unknown)


@pytest.mark.parametrize("engine", ["fake", "espeak"])
def test_a_worker_knows_its_voices_once_it_is_warm(engine: str) -> None:
    warmup = Warmup([Stage.TTS], Settings(tts=TtsSettings(engines=(engine,), max_batch=1)), lambda: None)
    assert warmup.voices is None
    assert warmup.warm(Stage.TTS)
    for served in warmup.served.values():
        served.stop(wait_s=5)
    assert warmup.voices is not None
    assert warmup.voices.engine == engine
    assert warmup.voices.knows("en-us+f3")
    assert warmup.voices.knows("nonesuch") is (engine == "fake"), "a fake takes every name"


# --- what callers see -------------------------------------------------------------------------------------------------


def voices_of(url: str, language: str | None = None) -> list[tuple[str, str | None, str]]:
    answer = httpx.get(f"{url}/v1/voices", params={} if language is None else {"language": language})
    assert answer.status_code == 200, answer.text
    return [(voice["name"], voice["language"], voice["engine"]) for voice in answer.json()["voices"]]


def test_voices_are_listed_once_and_by_name(settings: Settings, fleet: Fleet) -> None:
    with serving(settings) as url:
        assert voices_of(url) == []
    for worker, voices in {"a": POCKET, "b": ESPEAK, "c": POCKET, "d": ANY}.items():
        fleet.beat(report(worker), voices)
    with serving(settings) as url:
        alba, gustav, german = ("alba", None, "pocket_tts"), ("Gustav", "de", "pocket_tts"), ("de", "de", "espeak")
        assert voices_of(url) == [gustav, alba, german]
        assert voices_of(url, "de-AT") == [gustav, alba, german]
        assert voices_of(url, "fr") == [alba], "it speaks several languages"
        bad = httpx.get(f"{url}/v1/voices", params={"language": "xx"})
        assert "is not a language that we know" in refused(bad, 422)


def speak(url: str, voice: str, kind: str = "speech") -> httpx.Response:
    return httpx.post(f"{url}/v1/texts", json={"text": "hi", "kind": kind, "voice": voice})


def test_a_voice_that_no_worker_has_is_refused_at_once(settings: Settings, fleet: Fleet, sessions: object) -> None:
    fleet.beat(report("a"), POCKET)
    fleet.beat(report("b"), ESPEAK)
    with serving(settings) as url:
        assert [speak(url, voice).status_code for voice in ("alba", "de", "de+f3", "Alba")] == [202] * 4
        answer = speak(url, "anna")
        assert "'anna' is none that a worker has now; GET /v1/voices lists" in refused(answer, 422)
        assert fields(answer) == ["voice"]
        assert speak(url, "anna", kind="chat").status_code == 422
        assert "of no use" in refused(speak(url, "anna", kind="reply"), 422), "nobody speaks"
        note = httpx.post(f"{url}/v1/voice-notes", files={"file": b"x"}, data={"voice": "anna"})
        assert fields(note) == ["voice"], "before the recording is looked at"


def test_where_nothing_is_known_of_voices_the_engine_decides(
    settings: Settings, fleet: Fleet, sessions: object
) -> None:
    with serving(settings) as url:
        assert speak(url, "anna").status_code == 202, "no worker is warm"
    fleet.beat(report("a"), POCKET)
    fleet.beat(report("b"), ANY)
    with serving(settings) as url:
        assert speak(url, "anna").status_code == 202, "one worker takes every name"


def test_without_redis_jobs_are_accepted_but_voices_are_not_known(settings: Settings, sessions: object) -> None:
    away = settings.model_copy(update={"redis": RedisSettings(url="redis://127.0.0.1:9/0")})
    with serving(away) as url:
        assert speak(url, "anna").status_code == 202
        answer = httpx.get(f"{url}/v1/voices")
        assert "Redis does not answer" in refused(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
