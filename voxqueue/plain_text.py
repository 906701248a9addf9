"""What a language model wrote, as plain text to be spoken: without markup, and as short as it has to be. Pure.

It must know nothing of models or engines.
"""

import html
import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from voxqueue.sentences import cut_at_sentences, is_inside_character

_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_MOST_PASSES = 10

_TIMES = re.compile(r"(?<=\d)( ?)\*( ?)(?=\d)")  # markdown takes the stars of "2*3*4" for emphasis
_TAG = re.compile(r"<[^<>]*>")
_URL = re.compile(
    r"""(?<![A-Za-z0-9])
    (?: https?://(?:[^\s/@]*@)?(?:www\.)? | www\. )
    (?P<host> [\w.-]*\w )
    (?: :\d+ )?
    (?: [/?\#] (?:[!\#-;=?-~]*[A-Za-z0-9_/])? )?   # not the full stop or the bracket that may follow
    """,
    re.VERBOSE | re.IGNORECASE,
)
_EMOJI = re.compile(
    r"""(?<![ ])[ ]*
    (?: [\U0001F000-\U0001FAFF\u2600-\u266C\u2670-\u27BF\u231A\u231B\u23E9-\u23FA\u2B05-\u2B07\u2B1B\u2B1C\u2B50\u2B55]
        \u200D?   # joins two emoji into one; elsewhere it shapes letters
    |   [\uFE0E\uFE0F\u20E3\U000E0020-\U000E007F]   # how the character before is drawn
    )+""",
    re.VERBOSE,
)
_CLOSING = ".,!?;:…。，！？)]\"'”’»"  # no space goes before these


def speakable(markdown: str) -> str:
    """The words of a markdown text, a line for each paragraph, heading, list item and row of a table.

    Links and code give their text, bare URLs their host. Emoji and HTML tags are left out, numbers of lists stay.
    """
    text = markdown
    for _ in range(_MOST_PASSES):  # code and escapes may hold markdown again; what is nested deeper is no answer
        before, text = text, _without_marks(text)
        if text == before:
            break
    return text


def shorten(text: str, longest: int, language: str | None = None) -> str:
    """Cut a text to at most ``longest`` characters: after the last sentence that fits, else after a word, with "…".

    A sentence that ends in the first half is not the last one that fits, else a long answer after "Yes." would be lost.

    Args:
        language: A tag such as ``en`` or ``pt-BR``, whose rules say where sentences end; None for English.

    Raises:
        ValueError: ``longest`` is less than 1.
    """
    if longest < 1:
        raise ValueError(f"longest must be at least 1, not {longest}")
    if len(text) <= longest:
        return text
    end = _last_sentence_end(text, longest, language)
    if end > longest // 2:
        return text[:end]
    end = max(text.rfind(space, 0, longest) for space in " \n")
    if end <= longest // 2:  # a script without spaces, or no words at all
        end = longest - 1
        while end and is_inside_character(text, end):
            end -= 1
    return text[:end].rstrip(" \n.,;:…–—-、，") + "…"


def _last_sentence_end(text: str, longest: int, language: str | None) -> int:
    end = begin = 0
    for line in text[: 2 * longest].splitlines(keepends=True):  # what seems to end where this does is too long anyway
        for sentence in cut_at_sentences(line, language):
            if begin + len(sentence.rstrip()) > longest:
                return end
            end = begin + len(sentence.rstrip())
            begin += len(sentence)
    return end


def _without_marks(markdown: str) -> str:
    text = "\n".join(_blocks(_PARSER.parse(_TIMES.sub(r"\1×\2", markdown))))
    text = _URL.sub(r"\g<host>", text)
    text = _EMOJI.sub(lambda found: "" if text[found.end() : found.end() + 1] in _CLOSING else " ", text)
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    """The text of each block. A row of a table is one, and the number of a list's item goes with its first block."""
    number = ""
    cells: list[str] | None = None
    for token in tokens:
        text = _text(token)
        if token.type == "tr_open":
            cells = []
        elif token.type == "tr_close":
            yield ", ".join(cells or ())
            cells = None
        elif token.type == "list_item_open" and token.info:
            number += f"{token.info}{token.markup} "
        elif text and cells is not None:
            cells.append(text)
        elif text or (number and token.type == "list_item_close"):  # "1969." is a list to markdown, and an answer
            yield number + text
            number = ""


def _text(token: Token) -> str:
    match token.type:
        case "inline" | "image":
            return "".join(map(_text, token.children or ()))
        case "text" | "code_inline" | "code_block" | "fence":
            return token.content
        case "html_block":
            return html.unescape(_TAG.sub(" ", token.content))
        case "softbreak" | "hardbreak":
            return "\n"
    return ""
