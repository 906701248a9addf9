"""Settings, help and make: what they say is true, and enough."""

import subprocess
import sys

import pytest

from tests.command import ROOT, one_line, voxqueue
from voxqueue.cli.settings import groups, reference
from voxqueue.settings import Settings

pytestmark = pytest.mark.integration


def test_the_settings_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text()
    assert written == reference(), "run: voxqueue settings --markdown > docs/settings.md"


def test_the_settings_reference_does_not_depend_on_the_environment() -> None:
    ran = voxqueue("settings", "--markdown", VOXQUEUE_DATABASE_URL="postgres://me", VOXQUEUE_LIMITS_TEXT_CHARS="7")
    assert ran.stdout == reference()


def test_every_setting_says_what_it_does() -> None:
    silent = [it.variable for group in groups(Settings()) for it in group.settings if not it.description]
    assert silent == []


def test_settings_in_force_are_shown_without_secrets() -> None:
    ran = voxqueue(
        "settings",
        VOXQUEUE_DATABASE_URL="postgresql://user:geheim@host/name",
        VOXQUEUE_REDIS_URL="redis://:ge/he@im@host/0",
        VOXQUEUE_S3_SECRET_ACCESS_KEY="geheim",
        VOXQUEUE_FLOWER_BASIC_AUTH="operator:geheim",
        VOXQUEUE_STT_ENGINES="fake, pocketsphinx",
    )
    assert ran.returncode == 0, ran.stderr
    assert "geheim" not in ran.stdout
    assert "he@im" not in ran.stdout
    assert "VOXQUEUE_DATABASE_URL=postgresql://user:***@host/name" in ran.stdout
    assert "VOXQUEUE_STT_ENGINES=fake,pocketsphinx   [default: faster_whisper,pocketsphinx]" in ran.stdout


def test_a_wrong_setting_is_named() -> None:
    ran = voxqueue("migrate", VOXQUEUE_LIMITS_TEXT_CHARS="many", VOXQUEUE_LOG_LEVEL="loud")
    assert ran.returncode == 1
    assert "VOXQUEUE_LIMITS_TEXT_CHARS" in one_line(ran.stderr)
    assert "VOXQUEUE_LOG_LEVEL" in ran.stderr


@pytest.mark.parametrize("command", ["up", "api", "worker", "courier", "flower"])
def test_a_setting_that_cannot_be_ends_every_process_with_one_line(command: str) -> None:
    """Else a supervisor would start it again for ever, with nobody the wiser."""
    ran = voxqueue(command, VOXQUEUE_READY_CRITICAL="stt,ears")
    assert ran.returncode in (1, 2)
    assert "VOXQUEUE_READY_CRITICAL: knows no stage ears" in one_line(ran.stderr)


def test_help_imports_no_more_than_it_needs() -> None:
    heavy = "{'numpy', 'httpx', 'sqlalchemy', 'celery', 'pydantic', 'rich', 'redis'}"
    code = f"import sys, voxqueue.cli.main; print(sorted({heavy} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]"
    shown = voxqueue("--help")
    assert shown.returncode == 0
    for command in ("up", "demo", "send", "job", "ready", "api", "worker", "courier", "flower", "migrate", "settings"):
        assert f"\n  {command} " in shown.stdout
