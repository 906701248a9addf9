"""What tests of the page do again and again: send something, look for what keeps people out, make a key."""

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

from voxqueue.database.session import open_engine, open_sessions
from voxqueue.embedded import Stack
from voxqueue.keys import repository
from voxqueue.keys.caller import Scope
from voxqueue.keys.keys import Key
from voxqueue.settings import ApiSettings, DatabaseSettings, RedisSettings, Settings, StorageSettings

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}

_ANIMATIONS_ENDED = """Promise.allSettled(document.getAnimations()
    .filter((one) => one.effect.getTiming().iterations !== Infinity).map((one) => one.finished))"""

_IS_DARK = "matchMedia('(prefers-color-scheme: dark)').matches"


def write(page: Page, text: str, kind: str = "Answer in writing") -> Locator:
    """Send a text; the card of its job."""
    page.get_by_role("tab", name="Write").click()
    page.get_by_role("radio", name=kind).check()
    page.get_by_label("Your text").fill(text)
    return send(page)


def send(page: Page) -> Locator:
    """Send what is there; the card of its job."""
    with page.expect_response(lambda answer: answer.request.method == "POST" and answer.status == 202) as answer:
        page.get_by_role("button", name="Send").click()
    return page.locator(f'.card[data-id="{answer.value.json()["id"]}"]')


def assert_accessible(page: Page) -> None:
    """axe finds nothing serious on what is shown now, in light and in dark."""
    other, shown = ("light", "dark") if page.evaluate(_IS_DARK) else ("dark", "light")
    for scheme in (other, shown):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        _assert_accessible_as_it_is(page)


def _assert_accessible_as_it_is(page: Page) -> None:
    # What is on its way in is half transparent, and would count as too pale.
    page.evaluate(_ANIMATIONS_ENDED)
    found = Axe().run(page).response["violations"]
    serious = [it for it in found if it["impact"] in ("serious", "critical")]
    assert [(it["id"], [node["html"][:120] for node in it["nodes"]]) for it in serious] == []


def settings_of(stack: Stack) -> Settings:
    """Settings for another API beside the stack's own."""
    env = stack.env
    return Settings(
        database=DatabaseSettings(url=env["VOXQUEUE_DATABASE_URL"]),
        redis=RedisSettings(url=env["VOXQUEUE_REDIS_URL"]),
        storage=StorageSettings(dir=Path(env["VOXQUEUE_STORAGE_DIR"])),
        api=ApiSettings(keys="open"),
    )


def make_key(settings: Settings, *scopes: Scope) -> Key:
    key = Key.new()
    engine = open_engine(settings.database)
    with open_sessions(engine).begin() as session:
        repository.add(session, key, name="page", tenant="page", scopes=scopes, days=None)
    engine.dispose()
    return key
