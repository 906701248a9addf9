"""What the loading screen says of each report that the fleet may give, on a page that is given such reports."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.integration.conftest import serving
from tests.page.acting import assert_accessible, make_key, settings_of
from tests.page.conftest import Open, keep_screenshot, without_network
from voxqueue.embedded import Stack
from voxqueue.fleet import EngineStatus, FleetBrief, FleetReport, FleetState, ServiceReport
from voxqueue.fleet.reports import StageCount, WorkerCounts
from voxqueue.keys.caller import Scope
from voxqueue.settings import ApiSettings
from voxqueue.stages import Stage

pytestmark = pytest.mark.acceptance

Show = Callable[[dict[str, Any]], Page]

_NO_OLLAMA = "Ollama does not answer at http://127.0.0.1:11434: start it with `ollama serve`."
_AS_SHOWN = f"Language model: {_NO_OLLAMA}".replace("`", "")
_ETA = {"p50": 12.3, "p90": 20.1}


def service(status: EngineStatus, **rest: Any) -> ServiceReport:
    return ServiceReport(ready=status is EngineStatus.READY, status=status, **{"critical": True, **rest})


def report(state: FleetState, services: dict[Stage, ServiceReport], **rest: Any) -> dict[str, Any]:
    """What GET /api/ready answers."""
    by_stage = {stage: StageCount(warm=int(it.ready), required=1) for stage, it in services.items()}
    body = FleetReport(
        **{"ready": state is FleetState.READY, "progress": 46, "errors": [], **rest},
        state=state,
        degraded=False,
        degraded_reasons=[],
        services=services,
        workers=WorkerCounts(total=1, warm=0, warming=1, failed=0, by_stage=by_stage),
    )
    return body.model_dump(mode="json")


HEARD = service(
    EngineStatus.READY, engine="faster_whisper", model="large-v3", device="cuda", load_time_ms=4211, warmup_time_ms=1310
)
UNDER_WAY = report(
    FleetState.LOADING_MODELS,
    {
        Stage.STT: HEARD,
        Stage.LLM: service(EngineStatus.LOADING, engine="ollama", detail="pulling llama3.2: 42 %", eta_s=_ETA),
        Stage.TTS: service(EngineStatus.WAITING, critical=False),
    },
    eta_s=_ETA,
)
FAILED = report(
    FleetState.ERROR,
    {
        Stage.STT: HEARD,
        Stage.LLM: service(EngineStatus.FAILED, engine="ollama", error=_NO_OLLAMA),
        Stage.TTS: service(EngineStatus.WARMING, engine="pocket_tts", progress=80),
    },
    errors=[f"llm: {_NO_OLLAMA}"],
)
READY = report(FleetState.READY, dict.fromkeys(Stage, HEARD), progress=100)


@pytest.fixture
def told(context: BrowserContext) -> dict[str, Any]:
    """The report that every page of this test is given whenever it asks; change it to have it told another."""
    now = dict(UNDER_WAY)
    context.route("**/api/ready/stream", lambda route: route.fulfill(status=404))
    context.route("**/api/ready", lambda route: route.fulfill(status=200 if now["ready"] else 503, json=now))
    return now


def test_it_shows_how_far_each_stage_is_and_how_long_it_will_take(
    open_page: Open, told: dict[str, Any], complaints: list[str]
) -> None:
    page = open_page(ready=False)
    loading = page.locator("#loading")
    expect(loading.get_by_role("heading", name="Loading the models")).to_be_visible()
    expect(loading.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "46")
    expect(loading.locator("#loading-percent")).to_have_text("46 %")
    expect(loading.locator("#loading-eta")).to_have_text("about 12 s to go, seldom over 20 s")
    heard, answered, spoken = loading.get_by_role("listitem").all()
    expect(heard).to_contain_text("loaded in 4,211 ms · warm in 1,310 ms")
    expect(answered).to_contain_text("pulling llama3.2: 42 %")
    expect(answered).to_contain_text("about 12 s to go")
    expect(spoken).to_contain_text("not needed")
    keep_screenshot(page, "loading-eta")
    assert_accessible(page)
    told.update(READY)
    expect(loading).to_be_hidden()
    expect(page.get_by_role("button", name="Record")).to_be_enabled()
    without_network(complaints)


def test_an_engine_that_was_passed_over_is_no_failure(
    open_page: Open, told: dict[str, Any], complaints: list[str]
) -> None:
    """A start without any download passes over what is not installed: that must not look broken."""
    told["errors"] = ["stt: faster_whisper is not installed."]
    page = open_page(ready=False)
    why = page.locator("#loading-errors")
    expect(why).to_contain_text("faster_whisper is not installed.")
    expect(why).not_to_have_class(re.compile("problem"))
    told.update(FAILED)
    expect(why).to_have_class(re.compile("problem"))
    without_network(complaints)


def test_without_an_estimate_it_promises_nothing(open_page: Open, told: dict[str, Any], complaints: list[str]) -> None:
    told["eta_s"] = None
    page = open_page(ready=False)
    expect(page.locator("#loading-percent")).to_have_text("46 %")
    expect(page.locator("#loading-eta")).to_have_text("")
    without_network(complaints)


def test_an_engine_that_failed_says_why_and_is_tried_again_on_request(
    context: BrowserContext, open_page: Open, told: dict[str, Any], complaints: list[str]
) -> None:
    told.update(FAILED)
    page = open_page(ready=False)
    loading = page.locator("#loading")
    expect(loading.get_by_role("alert")).to_have_text(_AS_SHOWN)
    expect(loading.get_by_role("code")).to_have_text("ollama serve")
    with page.expect_request(lambda it: it.method == "POST" and it.url.endswith("/api/ready/warmup")) as asked:
        loading.get_by_role("button", name="Try again").click()
    asked_for = asked.value.response()
    assert asked_for is not None
    assert asked_for.status == 202
    expect(loading.get_by_role("status")).to_have_text("The workers have been asked to try again.")
    keep_screenshot(page, "loading-failed")
    assert_accessible(page)
    told.update(READY)
    expect(loading).to_be_hidden()
    without_network(complaints)


def test_a_server_that_does_not_answer_is_asked_at_once_on_request(
    context: BrowserContext, open_page: Open, complaints: list[str]
) -> None:
    """The page's clock stands still, so that it does not ask by itself."""
    context.route("**/api/ready**", lambda route: route.abort())
    page = context.new_page()
    page.clock.install()
    page.close()
    page = open_page(ready=False)
    loading = page.locator("#loading")
    expect(loading.get_by_role("heading", name="No connection to the server")).to_be_visible()
    expect(loading.get_by_role("progressbar")).to_be_hidden()
    expect(loading.get_by_role("link", name="See what the workers do")).to_be_hidden()
    keep_screenshot(page, "loading-lost")
    assert_accessible(page)
    context.unroute("**/api/ready**")
    context.clock.pause_at(page.evaluate("Date.now()"))
    loading.get_by_role("button", name="Try again").click()
    expect(loading).to_be_hidden()
    without_network(complaints)


def test_a_page_of_something_between_us_and_the_api_is_no_answer(
    context: BrowserContext, open_page: Open, complaints: list[str]
) -> None:
    context.route("**/api/ready/stream", lambda route: route.fulfill(status=404))
    context.route("**/api/ready", lambda route: route.fulfill(status=503, body="<h1>No server is available</h1>"))
    page = open_page(ready=False)
    loading = page.locator("#loading")
    expect(loading.get_by_role("heading", name="The server gave no proper answer")).to_be_visible()
    expect(loading).to_contain_text("Its status was 503.")
    context.unroute("**/api/ready")
    expect(loading).to_be_hidden()
    without_network(complaints)


def test_it_can_be_left_for_the_workers_and_is_there_again_on_the_way_back(
    open_page: Open, told: dict[str, Any], complaints: list[str]
) -> None:
    """Whoever mends a fleet needs to see it, above all while it is not ready."""
    told.update(FAILED)
    page = open_page(ready=False)
    page.locator("#loading").get_by_role("link", name="See what the workers do").click()
    expect(page.get_by_role("heading", name="The fleet at work")).to_be_focused()
    expect(page.locator("#loading")).to_be_hidden()
    expect(page.locator("#operate-fleet")).to_contain_text(_AS_SHOWN)
    page.get_by_role("link", name="Notes").click()
    expect(page.locator("#loading")).to_be_visible()
    without_network(complaints)


def test_a_stranger_who_is_told_the_least_is_asked_for_a_key_only_on_request(
    context: BrowserContext, open_page: Open, stack: Stack, complaints: list[str]
) -> None:
    """Where keys are asked for, reports to strangers hold no engine and no reason."""
    settings = settings_of(stack).model_copy(update={"api": ApiSettings(keys="required")})
    key = make_key(settings, Scope.JOBS_READ)
    least = FleetBrief.model_validate(FAILED).model_dump(mode="json")
    context.route("**/api/ready/stream", lambda route: route.fulfill(status=404))
    context.route(
        "**/api/ready",
        lambda route: route.fulfill(status=503, json=FAILED if "authorization" in route.request.headers else least),
    )
    with serving(settings) as url:
        page = open_page(url, ready=False)
        loading = page.locator("#loading")
        expect(loading.get_by_text("to those only who have a key")).to_be_visible()
        expect(page.get_by_role("dialog")).to_be_hidden()
        loading.get_by_role("button", name="Enter a key").click()
        page.get_by_role("dialog").get_by_label("API key").fill(str(key))
        page.get_by_role("dialog").get_by_role("button", name="Use this key").click()
        expect(loading.get_by_role("alert")).to_have_text(_AS_SHOWN)
        expect(loading.get_by_role("button", name="Enter a key")).to_be_hidden()
        page.close()
    without_network(complaints)
