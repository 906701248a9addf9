"""What must not get in people's way: fingers, double clicks, screen readers, other scripts, narrow screens."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.page.acting import PHONE, send, write
from tests.page.conftest import Open, keep_screenshot, listened, profile, without_network
from voxqueue.embedded import Stack

pytestmark = pytest.mark.acceptance

_HEAR = """() => {
    globalThis.said = [];
    const hear = ({ addedNodes }) => addedNodes.forEach((it) => said.push(it.textContent));
    new MutationObserver((changes) => changes.forEach(hear))
        .observe(document.getElementById("announcer"), { childList: true });
}"""

_AT_ITS_BEGINNING = "inset(0px 100% 0px 0px)"


@pytest.fixture
def phone(browser: Browser, stack: Stack, complaints: list[str]) -> Iterator[Page]:
    with profile(browser, **PHONE) as context:
        page = listened(context.new_page(), complaints)
        page.goto(f"{stack.api_url}/")
        expect(page.locator("#app:not([inert])")).to_be_visible()
        yield page


def middle(thing: Locator) -> tuple[float, float]:
    box = thing.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def swipe(page: Page, start: tuple[float, float], down: int) -> None:
    """A finger goes down (or up) the screen from there."""
    x, y = start
    touch = page.context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 11):
        points = [{"x": x, "y": y + down * step / 10}]
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_second_click_where_done_was_loses_no_recording(open_page: Open) -> None:
    """Many click twice; what then lies under the pointer must not be the button that discards."""
    page = open_page()
    page.get_by_role("button", name="Record").click()
    expect(page.locator("#clock")).to_have_text("0:01")
    place = middle(page.get_by_role("button", name="Done"))
    page.mouse.click(*place)
    expect(page.locator("#draft-player [data-loaded]")).to_be_visible()
    page.mouse.click(*place)
    expect(page.locator("#draft-player")).to_be_visible()
    expect(page.get_by_role("button", name="Send")).to_be_enabled()


def test_what_was_sent_from_a_phone_comes_into_view(phone: Page, spoken: Path) -> None:
    """The list is below the composer there: without this, nothing seems to happen."""
    phone.get_by_label("choose a file").set_input_files(spoken)
    card = send(phone)
    expect(card.get_by_role("list", name="Stages")).to_be_in_viewport(ratio=1)
    expect(phone.get_by_role("button", name="Record", exact=True)).to_be_focused()


def test_a_finger_on_a_waveform_turns_the_page_and_seeks_only_where_it_taps(phone: Page) -> None:
    card = write(phone, "Something to listen to, and to scroll past", kind="Read it aloud")
    wave, played = card.locator(".wave"), card.locator(".bar-played")
    expect(card.locator("[data-loaded]")).to_be_attached()
    wave.scroll_into_view_if_needed()
    before = phone.evaluate("scrollY")
    swipe(phone, middle(wave), 200)
    phone.wait_for_function("(before) => scrollY < before", arg=before)
    expect(played).to_have_css("clip-path", _AT_ITS_BEGINNING)
    phone.touchscreen.tap(*middle(wave))
    expect(played).not_to_have_css("clip-path", _AT_ITS_BEGINNING)
    wave.press("Home")
    expect(played).to_have_css("clip-path", _AT_ITS_BEGINNING)
    wave.press("ArrowUp")
    expect(played).not_to_have_css("clip-path", _AT_ITS_BEGINNING)


def test_a_screen_reader_is_told_each_change_once_and_nothing_of_the_past(open_page: Open) -> None:
    page = open_page()
    page.evaluate(_HEAR)
    card = write(page, "Nobody will answer !refuse@llm")
    expect(card.locator(".problem")).to_contain_text("refused as ordered")
    said = page.evaluate("said")
    assert said[-1].startswith("Reply: Failed. ")
    assert len(set(said)) == len(said)
    page.reload()
    expect(card.locator(".problem")).to_contain_text("refused as ordered")
    expect(page.get_by_role("alert").filter(has_text="refused")).to_have_count(0)
    assert "Failed" not in page.locator("#announcer").inner_text()


def test_each_text_runs_in_its_own_direction(open_page: Open) -> None:
    page = open_page()
    card = write(page, "متى تفتحون يوم السبت؟")
    expect(card.locator(".said-text")).to_have_css("direction", "rtl")
    expect(card.locator('[data-result="reply"] .words')).to_have_css("direction", "ltr")
    page.get_by_label("Your text").fill("متى؟")
    expect(page.get_by_label("Your text")).to_have_css("direction", "rtl")


@pytest.mark.parametrize("width", [320, 360, 640])
def test_no_word_of_the_header_is_cut_in_two(open_page: Open, width: int) -> None:
    """640 is a window of 1280 at 200 %, 320 the narrowest that people must be able to use."""
    page = open_page()
    page.set_viewport_size({"width": width, "height": 640})
    page.locator("#fleet-pill").evaluate("(it) => (it.textContent = 'Ready, degraded')")  # the longest
    for way in page.get_by_role("navigation").get_by_role("link").all():
        assert way.evaluate("(it) => it.getClientRects().length === 1 && it.clientHeight < 40"), "one line"
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nobody scrolls sideways"


def test_a_long_name_of_a_file_leaves_room_for_its_size(phone: Page, spoken: Path) -> None:
    name = "What Katharina said about the order that has not come yet.wav"
    phone.get_by_label("choose a file").set_input_files(
        {"name": name, "mimeType": "audio/wav", "buffer": spoken.read_bytes()}
    )
    expect(phone.locator("#draft-name")).to_have_text(name)
    assert phone.locator("#draft-size").evaluate("(it) => it.clientHeight") < 30, "one line"


def test_the_choices_can_be_told_apart_where_the_system_chooses_the_colours(open_page: Open) -> None:
    page = open_page()
    page.emulate_media(forced_colors="active")
    chosen, other = page.locator("#kinds .choice span").all()
    expect(chosen).to_have_css("outline-style", "solid")
    expect(other).to_have_css("outline-style", "none")


def test_a_voice_is_offered_by_its_name_and_its_language(context: BrowserContext, open_page: Open) -> None:
    voices = [{"name": "alba", "language": "en"}, {"name": "bpy", "language": "bpy"}]
    whole = [{**voice, "engine": "fake", "model": "fake"} for voice in voices]
    context.route("**/v1/voices*", lambda route: route.fulfill(json={"voices": whole}))
    page = open_page()
    expect(page.locator("#voice option")).to_have_text(["Automatic", "alba (English)", "bpy"])


def test_a_page_of_which_a_part_did_not_come_offers_to_load_it_again(
    context: BrowserContext, open_page: Open, complaints: list[str]
) -> None:
    """A network that changes at the wrong moment would else leave a loading screen for ever."""
    context.route("**/js/words.js", lambda route: route.abort())
    page = open_page(ready=False)
    stuck = page.locator("#loading-stuck")
    expect(stuck).to_be_hidden()
    stuck.evaluate("(it) => it.getAnimations().forEach((waiting) => waiting.finish())")
    keep_screenshot(page, "loading-stuck")
    context.unroute("**/js/words.js")
    stuck.get_by_role("link", name="Load it again").click()
    expect(page.locator("#app:not([inert])")).to_be_visible()
    expect(stuck).to_have_count(0)
    without_network(complaints)
