"""What a person can do on the page, from the loading screen to a reply that is played, and when things go away."""

import os
import re
import signal
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.integration.conftest import serving
from tests.page.acting import PHONE, assert_accessible, make_key, send, settings_of, write
from tests.page.conftest import Open, keep_screenshot, listened, profile, without_network
from tests.wire import Said
from tests.wire import serving as answering
from voxqueue.embedded import Stack
from voxqueue.keys.caller import Scope
from voxqueue.settings import ApiSettings

pytestmark = pytest.mark.acceptance

_COLLECT_LIT = """(words) => {
    globalThis.lit = [];
    new MutationObserver(() => words.querySelectorAll(".now").forEach((one) => lit.push(one.textContent)))
        .observe(words, { attributes: true, subtree: true });
}"""

_LOOK_AWAY = """(away) => {
    Object.defineProperty(document, "hidden", { value: away, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def same(page: Page, card: Locator) -> Locator:
    """The card of the same job on another page."""
    return page.locator(f'.card[data-id="{card.get_attribute("data-id")}"]')


def test_the_loading_screen_comes_back_when_readiness_is_lost_and_keeps_what_was_written(
    open_page: Open, stack: Stack
) -> None:
    page = open_page()
    page.get_by_role("tab", name="Write").click()
    page.get_by_label("Your text").fill("half a sentence")
    os.kill(stack.process("worker-1"), signal.SIGTERM)
    loading = page.locator("#loading")
    expect(loading).to_be_visible()
    expect(page.get_by_label("Your text")).not_to_be_focused()
    expect(loading.get_by_text("loading", exact=True)).to_be_visible()
    expect(loading.get_by_role("listitem").filter(has_text="Speech to text")).to_contain_text("loaded in ")
    expect(loading.get_by_role("progressbar")).not_to_have_attribute("aria-valuenow", "0")
    keep_screenshot(page, "loading")
    assert_accessible(page)
    expect(loading).to_be_hidden()
    expect(page.get_by_label("Your text")).to_have_value("half a sentence")
    expect(page.get_by_label("Your text")).to_be_focused()


def test_a_recording_from_the_microphone_comes_back_as_words_that_light_up_and_as_speech(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#clock")).to_have_text("0:01")
    keep_screenshot(page, "recording")
    page.get_by_role("button", name="Discard the recording").click()
    expect(page.get_by_role("button", name="Record")).to_be_focused()
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#clock")).to_have_text("0:01")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#clock")).to_have_text("0:02")
    page.get_by_role("button", name="Done").click()
    expect(page.locator("#draft-player [data-loaded]")).to_be_visible()
    page.get_by_role("button", name="Play the recording").click()
    expect(page.get_by_role("button", name="Pause the recording")).to_be_visible()
    card = send(page)

    expect(card.locator('[data-state="running"]').first).to_be_visible()
    expect(card.get_by_text("Done")).to_be_visible()
    expect(card.locator('.stages [data-state="succeeded"]')).to_have_count(3)
    expect(card.locator('[data-result="reply"]')).to_contain_text("Fake reply")
    expect(card.locator('[data-result="audio"] [data-loaded]')).to_be_visible()

    page.reload()
    words = card.locator('[data-result="transcript"] .words')
    words.evaluate(_COLLECT_LIT)
    card.get_by_role("button", name="Play your recording").click()
    expect(words.locator(".now")).to_be_visible()
    keep_screenshot(page, "playing")
    card.get_by_role("button", name="Play the spoken reply").click()
    expect(card.get_by_role("button", name="Play your recording")).to_be_visible()  # one at a time
    card.get_by_role("slider", name="Position in your recording").press("Home")
    card.get_by_role("button", name="Play your recording").click()
    expect(card.get_by_role("button", name="Pause your recording")).to_be_visible()
    expect(card.get_by_role("button", name="Play your recording")).to_be_visible()  # it has come to its end
    lit = page.evaluate("lit")
    assert lit[-1] == "seconds"
    assert len(set(lit)) >= 3, "one after the other, not all at once"
    with page.expect_download() as download:
        card.get_by_role("button", name="Download transcript as SRT").click()
    assert "00:00:00,000 --> " in Path(download.value.path()).read_text()
    assert_accessible(page)


def test_a_file_is_uploaded_and_one_that_is_no_recording_is_refused_in_words(
    open_page: Open, spoken: Path, tmp_path: Path, complaints: list[str]
) -> None:
    page = open_page()
    (tmp_path / "letter.mp3").write_text("Dear Sir or Madam")
    page.get_by_label("choose a file").set_input_files(tmp_path / "letter.mp3")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#composer-error")).to_contain_text("not a recording")
    expect(page.locator("#draft-name")).to_have_text("letter.mp3")
    expect(page.locator("#draft-player")).to_contain_text("The server may still read it")
    without_network(complaints)
    page.get_by_role("button", name="Discard").click()

    page.get_by_label("choose a file").set_input_files(spoken)
    page.get_by_role("radio", name="Only write it down").check()
    expect(page.get_by_label("Voice", exact=True)).to_be_hidden()
    page.get_by_label("Language").select_option("English")
    card = send(page)
    expect(card.get_by_text("Done")).to_be_visible()
    expect(card.locator(".stages li")).to_have_count(1)
    expect(card.locator('[data-result="transcript"]')).to_contain_text("English")


def test_a_text_job_can_be_canceled_tried_again_and_deleted(open_page: Open) -> None:
    page = open_page()
    card = write(page, "This goes wrong: !fail@llm")
    expect(card.get_by_text("tried once, again soon")).to_be_visible()
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("Canceled", exact=True)).to_be_visible()
    card.get_by_role("button", name="Try again").click()
    expect(card.get_by_role("button", name="Cancel")).to_be_visible()
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    expect(card).to_be_visible()
    card.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)


def test_a_job_that_fails_says_why(open_page: Open) -> None:
    page = open_page()
    card = write(page, "Nobody will answer !refuse@llm")
    expect(card.locator(".problem")).to_contain_text("refused as ordered")
    expect(card.get_by_role("button", name="Try again")).to_be_visible()
    keep_screenshot(page, "failed")
    assert_accessible(page)


def test_two_tabs_show_the_same(open_page: Open) -> None:
    one, other = open_page(), open_page()
    one.bring_to_front()  # a browser is slow with tabs that nobody looks at
    card = write(one, "Seen in both")
    expect(same(other, card)).to_contain_text("Seen in both")
    expect(same(other, card).get_by_text("Done")).to_be_visible()
    seen = same(other, card)
    card.get_by_role("button", name="Delete").click()
    one.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(seen).to_have_count(0)


def test_a_server_that_goes_away_is_found_again(open_page: Open, stack: Stack, complaints: list[str]) -> None:
    page = open_page()
    expect(page.locator("#live")).to_have_text("Live")
    os.kill(stack.process("api"), signal.SIGKILL)
    expect(page.get_by_role("heading", name="No connection to the server")).to_be_visible()
    expect(page.locator("#loading")).to_be_hidden()
    card = write(page, "Sent after the pause")
    expect(card.get_by_text("Done")).to_be_visible()
    expect(page.locator("#live")).to_have_text("Live")
    without_network(complaints)


def test_speech_that_breaks_off_on_the_way_is_no_fault_of_the_browser(
    context: BrowserContext, open_page: Open, complaints: list[str]
) -> None:
    with answering(lambda _: Said(body=b"OggS", missing=1000)) as broken:
        context.route("**/audio", lambda route: route.continue_(url=broken.url))
        page = open_page()
        card = write(page, "Say it twice", kind="Answer aloud")
        player = card.locator('[data-result="audio"]')
        expect(player.get_by_role("alert")).to_contain_text("Check the connection")
        card.get_by_role("button", name="Download speech as Audio").click()
        expect(card).to_contain_text("The server cannot be reached")
    context.unroute("**/audio")
    player.get_by_role("button", name="Play the spoken reply").click()
    expect(player.locator("[data-loaded]")).to_be_attached()
    without_network(complaints)


def test_a_tab_in_the_background_holds_no_stream_open(open_page: Open) -> None:
    """Browsers allow six connections to a server; some forgotten tabs would take them all."""
    page = open_page()
    expect(page.locator("#live")).to_have_text("Live")
    page.evaluate(_LOOK_AWAY, True)
    expect(page.locator("#live")).to_have_text("")
    page.evaluate(_LOOK_AWAY, False)
    expect(page.locator("#live")).to_have_text("Live")


def test_without_event_streams_it_asks_again_and_again(
    context: BrowserContext, open_page: Open, complaints: list[str]
) -> None:
    context.route(re.compile("/v1/events|/api/ready/stream"), lambda route: route.fulfill(status=404))
    page = open_page()
    card = write(page, "Nobody tells us of this")
    expect(card.get_by_text("Done")).to_be_visible()
    expect(page.locator("#live")).to_have_text("")
    without_network(complaints)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: Browser, stack: Stack, complaints: list[str], spoken: Path, scheme: str) -> None:
    with profile(browser, **PHONE, color_scheme=scheme) as context:
        page = listened(context.new_page(), complaints)
        page.goto(f"{stack.api_url}/")
        page.get_by_label("choose a file").set_input_files(spoken)
        card = send(page)
        speech = card.locator('[data-result="audio"]')
        speech.scroll_into_view_if_needed()
        expect(speech.locator("[data-loaded]")).to_be_visible()
        card.get_by_text("Details").click()
        page.locator("#fleet summary").click()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, "nobody scrolls sideways"
        assert_accessible(page)
        page.locator("#fleet summary").click()
        card.scroll_into_view_if_needed()
        keep_screenshot(page, f"phone-{scheme}")


def test_everything_can_be_done_with_the_keyboard(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("tab", name="Speak").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Write")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.type("Typed without a mouse")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Answer in writing")).to_be_checked()
    for _ in range(3):  # language, instructions, send
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Send")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".card").first).to_contain_text("Typed without a mouse")


def test_an_api_that_wants_a_key_is_given_one(open_page: Open, stack: Stack, complaints: list[str]) -> None:
    settings = settings_of(stack).model_copy(update={"api": ApiSettings(keys="required")})
    key = make_key(settings, Scope.JOBS_READ, Scope.JOBS_WRITE)
    with serving(settings) as url:
        assert httpx.get(f"{url}/v1/jobs").status_code == 401
        page = open_page(url)
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("This server asks who you are")
        keep_screenshot(page, "key")
        assert_accessible(page)
        dialog.get_by_role("button", name="Not now").click()
        expect(page.locator("#board-problem")).to_contain_text("This server asks who you are")
        page.get_by_role("button", name="Enter a key").click()
        dialog.get_by_label("API key").fill("vq_nonsense")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_contain_text("There is no such API key")
        dialog.get_by_label("API key").fill(str(key))
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_be_hidden()
        card = write(page, "With a key", kind="Answer aloud")
        expect(card.locator('[data-result="audio"] [data-loaded]')).to_be_attached()
        page.reload()
        expect(card).to_contain_text("With a key")
        page.close()
    without_network(complaints)
