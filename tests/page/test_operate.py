"""What operators see: the fleet at work, and webhook deliveries that can be sent again."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.acceptance.conftest import start
from tests.integration.conftest import serving
from tests.page.acting import PHONE, assert_accessible, make_key, settings_of, write
from tests.page.conftest import FAKE, Open, keep_screenshot, listened, profile, without_network
from tests.receiver import Came, Receiver, receiving
from tests.wire import Said
from voxqueue.embedded import Stack
from voxqueue.embedded.processes import free_port
from voxqueue.keys.caller import Scope
from voxqueue.settings import ApiSettings

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Takes what is sent to /fine, and nothing else."""

    def answer(came: Came) -> Said:
        return Said(204) if came.path == "/fine" else Said(500, b"no room for this")

    with receiving(answer) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stack(browser: Browser, receiver: Receiver) -> Iterator[Stack]:
    """A stack that has done some jobs, of which two failed, and owes every end of a job to two endpoints."""
    env = {
        "VOXQUEUE_WEBHOOKS_ALLOW_HTTP": "true",
        "VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS": "127.0.0.0/8",
        "VOXQUEUE_WEBHOOKS_PORTS": receiver.url.rsplit(":", 1)[1],
    }
    flower_port = free_port()
    with (
        start({**FAKE, **env}, flower_port=flower_port) as stack,
        httpx.Client(base_url=stack.api_url, timeout=20) as client,
    ):
        for path in ("/fine", "/full"):
            client.post("/v1/webhooks/endpoints", json={"url": receiver.url + path}).raise_for_status()
        for text in ("One", "Two", "Three", "Nobody will answer !refuse@llm", "Nor this !refuse@llm"):
            client.post("/v1/texts", json={"text": text, "kind": "reply"}).raise_for_status()
        receiver.wait(10)
        yield stack


def operate(page: Page) -> None:
    page.get_by_role("link", name="Operate").click()
    expect(page.get_by_role("heading", name="The fleet at work")).to_be_focused()
    expect(page.locator("#operate-body")).to_be_visible()


def test_it_shows_what_waits_what_went_and_what_failed(open_page: Open, stack: Stack) -> None:
    page = open_page()
    operate(page)
    assert page.url.endswith("/#operate")
    stage = page.get_by_role("article", name="Language model")
    expect(stage).to_contain_text("1 warm")
    expect(stage).to_contain_text("waiting")
    expect(stage.get_by_role("row", name="Ran")).to_contain_text("ms")
    expect(stage.get_by_role("list", name="Sizes of batches")).to_contain_text("% of runs")
    expect(page.locator('#totals [data-kind="succeeded"]')).to_contain_text("3")
    expect(page.locator('#totals [data-kind="failed"]')).to_contain_text("2")
    expect(page.get_by_role("img", name="5 within the hour")).to_be_visible()
    expect(page.locator("#failures")).to_contain_text("The last of them: The fake refused as ordered")
    worker = page.locator("#workers > li").filter(has_text="Speech to text")
    expect(worker).to_contain_text("cpu")
    expect(worker).to_contain_text("loaded in ")
    expect(worker).to_contain_text("free")
    expect(page.locator("#workers > li").filter(has_text="courier").first).to_be_visible()
    expect(page.get_by_role("link", name="Flower")).to_have_attribute("href", str(stack.flower_url))
    keep_screenshot(page, "operate", whole=True)
    assert_accessible(page)


def test_it_follows_what_happens_and_is_kept_over_a_reload(open_page: Open) -> None:
    page = open_page()
    operate(page)
    page.reload()
    done = page.locator('#totals [data-kind="succeeded"] dd')
    expect(done).to_be_visible()
    before = int(done.inner_text())
    page.get_by_role("link", name="Notes").click()
    card = write(page, "One more")
    expect(card.get_by_text("Done")).to_be_visible()
    page.get_by_role("link", name="Operate").click()
    expect(done).to_have_text(str(before + 1))


def test_a_delivery_shows_its_attempts_and_is_sent_again(open_page: Open, receiver: Receiver) -> None:
    page = open_page()
    operate(page)
    page.get_by_role("radio", name="Waiting").check()
    refused = page.locator(".delivery").first
    expect(refused).to_contain_text("/full")
    refused.locator("summary").click()
    expect(refused.get_by_role("row").nth(1)).to_contain_text("500")
    expect(refused.get_by_role("row").nth(1)).to_contain_text("no room for this")
    assert_accessible(page)

    page.get_by_role("radio", name="Delivered").check()
    delivered = page.locator(".delivery").first
    expect(delivered).to_contain_text("/fine")
    delivered.locator("summary").click()
    before = page.locator(".delivery").count()
    came = len(receiver.book)
    delivered.get_by_role("button", name="Send again").click()
    receiver.wait(came + 1)
    expect(page.locator(".delivery")).to_have_count(before + 1)


def test_an_hour_without_jobs_says_so(context: BrowserContext, open_page: Open) -> None:
    def quiet(route: Route) -> None:
        report = route.fetch().json()
        for minute in report["statistics"]["throughput"]:
            minute.update(succeeded=0, failed=0, canceled=0)
        route.fulfill(json=report)

    context.route("**/api/operations", quiet)
    page = open_page()
    operate(page)
    expect(page.locator("#throughput")).to_have_text("No job has ended within the hour.")


def test_engines_are_tried_again_on_request(open_page: Open) -> None:
    page = open_page()
    operate(page)
    page.get_by_role("button", name="Try engines again").click()
    expect(page.get_by_role("status").filter(has_text="have been asked")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: Browser, stack: Stack, complaints: list[str], scheme: str) -> None:
    with profile(browser, **PHONE, color_scheme=scheme) as context:
        page = listened(context.new_page(), complaints)
        page.goto(f"{stack.api_url}/#operate")
        page.locator(".delivery summary").first.click()
        expect(page.locator(".delivery table").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nobody scrolls sideways"
        assert_accessible(page)
        keep_screenshot(page, f"operate-phone-{scheme}", whole=True)


def test_it_says_that_the_server_is_away_and_goes_on_by_itself(open_page: Open, complaints: list[str]) -> None:
    page = open_page()
    operate(page)
    page.context.set_offline(True)
    expect(page.locator("#operate-problem")).to_contain_text("The server cannot be reached")
    expect(page.locator("#tiles")).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator("#operate-problem")).to_be_empty()
    without_network(complaints)


def test_only_administrators_are_shown_the_way_and_others_are_told_why_not(
    open_page: Open, stack: Stack, complaints: list[str]
) -> None:
    settings = settings_of(stack).model_copy(update={"api": ApiSettings(keys="required")})
    tenant, admin = make_key(settings, Scope.JOBS_READ, Scope.JOBS_WRITE), make_key(settings, Scope.ADMIN)
    with serving(settings) as url:
        page = open_page(url)
        dialog = page.get_by_role("dialog")
        with page.expect_response(lambda it: it.url.endswith("/api/operations") and it.status == 403):
            dialog.get_by_label("API key").fill(str(tenant))
            dialog.get_by_role("button", name="Use this key").click()
        expect(page.get_by_role("link", name="Operate")).to_be_hidden()
        page.goto(f"{url}/#operate")
        expect(page.locator("#operate-problem")).to_contain_text("lacks the scope admin")
        expect(page.locator("#operate-body")).to_be_hidden()
        page.get_by_role("button", name="API key").click()
        dialog.get_by_label("API key").fill(str(admin))
        dialog.get_by_role("button", name="Use this key").click()
        expect(page.locator("#operate-body")).to_be_visible()
        page.get_by_role("link", name="Notes").click()
        expect(page.get_by_role("link", name="Operate")).to_be_visible()
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "there is room for the key's button too"
        keep_screenshot(page, "phone-with-a-key")
        page.close()
    without_network(complaints)
