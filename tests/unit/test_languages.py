"""Which tags stand for a language that we know."""

import pytest

from voxqueue.languages import LANGUAGES, find_language

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("en_us", "en"),
        ("zh-Hant-TW", "zh"),
        ("pt-BR", "pt"),
        ("nb-NO", "no"),
        ("iw", "he"),
        ("jw", "jv"),
        ("yue", "yue"),
    ],
)
def test_a_tag_is_reduced_to_its_language(tag: str, code: str) -> None:
    assert find_language(tag) == code


@pytest.mark.parametrize(
    "tag", ["", "xx", "e", "english", "en-", "-en", "en--US", " en", "en\n", "en-US-", "ｅｎ", "en;q=1", "eN\0"]
)
def test_anything_else_is_no_language(tag: str) -> None:
    assert find_language(tag) is None


def test_the_list_is_whispers() -> None:
    assert len(LANGUAGES) == 100
    assert all(find_language(code) == code for code in LANGUAGES)
    assert list(LANGUAGES) == sorted(LANGUAGES)
