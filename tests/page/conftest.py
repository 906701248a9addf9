"""A real Chromium, with a microphone that a file speaks into, before a stack with fake engines."""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.acceptance.conftest import start
from tests.recordings import recording
from tests.speech import speak
from voxqueue.embedded import Stack

SCREENSHOTS = Path(__file__).parents[2] / "test-results" / "page"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
FAKE = {
    "VOXQUEUE_ENGINES": "fake",
    "VOXQUEUE_FAKE_LOAD_MS": "1200",
    "VOXQUEUE_FAKE_FIXED_MS": "250",
    "VOXQUEUE_JOBS_RETRY_DELAY_S": "60",
}
_PATIENCE_MS = 25_000
_OF_THE_NETWORK = re.compile("Failed to load resource|net::ERR_")

Open = Callable[..., Page]

expect.set_options(timeout=_PATIENCE_MS)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav file in which somebody speaks for some seconds."""
    path = tmp_path_factory.mktemp("spoken") / "spoken.wav"
    path.write_bytes(recording(*speak("Hello there. Please call me back when you have a moment."), "wav"))
    return path


@pytest.fixture(scope="session")
def browser(spoken: Path) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here; on Debian, apt-get install chromium")
    with sync_playwright() as playwright:
        flags = [*_FLAGS, f"--use-file-for-fake-audio-capture={spoken}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def stack(browser: Browser) -> Iterator[Stack]:
    """A stack whose engines take a quarter of a second; a stage that fails is tried again after a minute."""
    with start(FAKE) as stack:
        yield stack


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own: nothing stored, desktop size, light."""
    with profile(browser) as context:
        yield context


@contextmanager
def profile(browser: Browser, **options: object) -> Iterator[BrowserContext]:
    settings = {"viewport": {"width": 1200, "height": 860}, "color_scheme": "light", **options}
    context = browser.new_context(permissions=["microphone"], **settings)  # type: ignore[arg-type]
    context.set_default_timeout(_PATIENCE_MS)
    try:
        yield context
    finally:
        context.close()


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the pages of a test write to the console as errors, or throw; at the end there must be nothing.

    A test in which requests fail on purpose takes out what the browser says of that with `without_network`.
    """
    found: list[str] = []
    yield found
    assert found == []


def without_network(complaints: list[str]) -> None:
    """Take out what the browser itself says of requests that were refused or did not get through."""
    complaints[:] = [words for words in complaints if not _OF_THE_NETWORK.search(words)]


@pytest.fixture
def open_page(context: BrowserContext, stack: Stack, complaints: list[str]) -> Open:
    """Opens another tab on the page and waits until it can be used."""

    def open_it(url: str = stack.api_url, *, ready: bool = True) -> Page:
        page = listened(context.new_page(), complaints)
        page.goto(f"{url}/")
        if ready:
            expect(page.locator("#app:not([inert])")).to_be_visible()
        return page

    return open_it


def listened(page: Page, complaints: list[str]) -> Page:
    """The page, with its complaints heard."""

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


def keep_screenshot(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep what the page looks like now, for people; all of it, or what is in view."""
    page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled", full_page=whole)
