"""A model's markdown becomes words that can be spoken, and no word of it is lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxqueue.plain_text import shorten, speakable

pytestmark = pytest.mark.unit

BLOCKS = ["# ", "- ", "* ", "1. ", "2) ", "> ", "```\n", "|", "|-|-|\n", "---", "=\n", "    ", "</div>", "[a]: b\n"]
MARKS = ["**", "*", "_", "__", "`", "~~", "[", "]", "(", ")", "![", "](http://a.b/c)", "<b>", "<!--", "&lt;", "\\"]
WORDS = ["one", "two", "2", "*3", ".", "é", "你好。", "🎉", "https://a.b/c", "www.x.y", "<http://a.b>"]
SPACES = [" ", "\n", "\n\n", "\t", "\r", "\0", "\u200d"]
PARTS = st.sampled_from([*BLOCKS, *MARKS, *WORDS, *SPACES]) | st.text(max_size=5)
MARKDOWN = st.lists(PARTS, max_size=25).map("".join)


@given(MARKDOWN)
def test_any_markdown_becomes_plain_lines_once_and_for_all(markdown: str) -> None:
    """The language model's stage may have done it before the speech stage does: a second time must change nothing."""
    text = speakable(markdown)
    assert speakable(text) == text
    assert text == "\n".join(" ".join(line.split()) for line in text.splitlines() if line.split())


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        (
            "# The title #\n\nSome **bold**, *slanted* and ~~old~~ words.",
            "The title\nSome bold, slanted and old words.",
        ),
        ("- milk\n- eggs\n  - six\n\n* bread", "milk\neggs\nsix\nbread"),
        ("1. Wake up\n2. Get up", "1. Wake up\n2. Get up"),
        ("> Somebody said\n> so.", "Somebody said\nso."),
        ("Use `ls -l`:\n\n```sh\nls -l\npwd\n```", "Use ls -l:\nls -l\npwd"),
        ("| a | b |\n|---|---|\n| c |   |\n| d | **e** |", "a, b\nc\nd, e"),
        ("See [the *docs*](https://example.com/a) and ![a cat](cat.png).", "See the docs and a cat."),
        ("One<br>line, H<sub>2</sub>O", "Oneline, H2O"),
        ("Before\n\n<!-- a <b>hidden</b> word -->\n\nand after", "Before\nand after"),
        ("<div>\ntea &amp; <b>cake</b>\n</div>", "tea & cake"),
        ("Fish &amp; chips, 3 \\* 4", "Fish & chips, 3 × 4"),
        ("First.  \nSecond.\n\n\n\nThird.", "First.\nSecond.\nThird."),
        ("A rule\n\n---\n\nends.", "A rule\nends."),
    ],
)
def test_marks_go_and_words_stay(markdown: str, text: str) -> None:
    assert speakable(markdown) == text


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("2*3*4 is 24, and 2 * 3 is 6.", "2×3×4 is 24, and 2 × 3 is 6."),
        ("Set snake_case_names in the file.", "Set snake_case_names in the file."),
        ("1969.", "1969."),
        ("3. Oktober ist ein Feiertag.", "3. Oktober ist ein Feiertag."),
        ("I <3 C#, C♯ and 20 °C; 5 < 6 > 4.", "I <3 C#, C♯ and 20 °C; 5 < 6 > 4."),
        ("න්\u200dය", "න්\u200dය"),  # the joiner that is a part of emoji is also a part of letters
    ],
)
def test_what_only_looks_like_markdown_keeps_its_meaning(markdown: str, text: str) -> None:
    """Read as markdown, "2*3*4" is 234, and the answer "1969." an empty list."""
    assert speakable(markdown) == text


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.com", "example.com"),
        ("http://user:secret@www.example.com:8080/a_(b)/c?q=1&r=2#d", "example.com"),
        ("www.example.co.uk/path", "example.co.uk"),
        ("<https://example.com/path>", "example.com"),
        ("[https://example.com/path](https://example.com/path)", "example.com"),
    ],
)
def test_of_a_bare_address_the_host_is_enough(url: str, host: str) -> None:
    assert (
        speakable(f"Look at {url}, then at ({url}). Or 见{url}。") == f"Look at {host}, then at ({host}). Or 见{host}。"
    )


def test_emoji_go_with_the_space_that_they_took() -> None:
    assert speakable("Great 🎉! A 👨‍👩‍👧 family, ❤️❤️ 🇩🇪 👍🏽ok, 1️⃣ first ✅") == "Great! A family, ok, 1 first"


@pytest.mark.parametrize(
    "unit", ["*a", "[", "`", "\\", "> ", " ", " 🎉 ", "&amp;", "https://", "<a ", "|a", "- ", "![["]
)
def test_a_hundred_thousand_hostile_characters_are_no_trouble(unit: str) -> None:
    """What takes time in the square of the length would show as a test that ends by its time limit."""
    assert len(speakable(unit * (100_000 // len(unit)))) <= 200_000


# --- shorten ----------------------------------------------------------------------------------------------------------


@given(
    text=st.text(st.sampled_from("ab .!?。\n你👨\u200d\u0301,") | st.characters(), max_size=200),
    longest=st.integers(1, 60),
)
def test_it_is_never_too_long_and_begins_as_before(text: str, longest: int) -> None:
    short = shorten(text, longest)
    assert len(short) <= longest
    assert shorten(short, longest) == short
    assert short == text if len(text) <= longest else text.startswith(short.removesuffix("…"))


TEXT = "Yes. This is the first sentence here. Dr. Smith speaks the second one. The third goes on and on, and on."


@pytest.mark.parametrize(
    ("longest", "short"),
    [
        (200, TEXT),
        (80, "Yes. This is the first sentence here. Dr. Smith speaks the second one."),
        (60, "Yes. This is the first sentence here."),
        (30, "Yes. This is the first…"),  # for "Yes." alone would be hardly an answer
        (1, "…"),
    ],
)
def test_it_ends_after_a_sentence_else_after_a_word(longest: int, short: str) -> None:
    assert shorten(TEXT, longest) == short


def test_it_knows_the_sentences_of_other_languages() -> None:
    assert shorten("今天天气很好！我们去公园吧？你跟我们一起去吗？", 15, "zh") == "今天天气很好！我们去公园吧？"
    assert shorten("Das ist z. B. gut. Es kostet ca. 3 Euro.", 30, "de") == "Das ist z. B. gut."


def test_a_script_without_spaces_is_cut_between_characters() -> None:
    assert shorten("我们去公园吧" * 10, 10) == "我们去公园吧我们去…"
    assert shorten("e\u0301" * 10, 6) == "e\u0301e\u0301…"


def test_no_room_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, not 0"):
        shorten("Hello.", 0)
