"""The page at `/docs` in a real browser: all of it comes from the API itself, and its policy breaks nothing."""

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.page.conftest import keep_screenshot, listened
from voxqueue.embedded import Stack

pytestmark = pytest.mark.acceptance


def test_the_documentation_works_without_the_internet_and_can_be_tried(
    context: BrowserContext, stack: Stack, complaints: list[str], spoken: Path
) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = listened(context.new_page(), complaints)  # what the policy forbids is an error on the console
    page.goto(f"{stack.api_url}/docs")
    page.get_by_text("Types of errors").click()
    expect(page.get_by_role("cell", name="job-not-ended")).to_be_visible()
    route = page.locator("#operations-readiness-fleet_ready")
    expect(route).to_be_visible()
    keep_screenshot(page, "documentation")
    route.get_by_role("button", name="GET /api/ready", exact=False).first.click()
    route.get_by_role("button", name="Try it out").click()
    route.get_by_role("button", name="Execute").click()
    expect(route.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")
    expect(route.locator(".live-responses-table")).to_contain_text('"state": "READY"')
    _send_a_note(page.locator("#operations-submit-submit_voice_note"), spoken)
    strangers = [url for url in asked if not url.startswith((stack.api_url, "data:", "blob:"))]
    assert strangers == []


def _send_a_note(route: Locator, recording: Path) -> None:
    """As a stranger does who chooses a file and touches nothing else: no field may hold a placeholder."""
    route.get_by_role("button", name="POST /v1/voice-notes", exact=False).first.click()
    route.get_by_role("button", name="Try it out").click()
    route.locator("input[type=file]").set_input_files(recording)
    route.get_by_role("button", name="Execute").click()
    expect(route.locator(".live-responses-table tbody .response-col_status")).to_contain_text("202")
    expect(route.locator(".live-responses-table")).to_contain_text('"state": "queued"')
