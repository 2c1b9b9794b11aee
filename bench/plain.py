r"""Text of others as data: what has no place in a line of text becomes visible instead of being obeyed.

Labels, titles, reasons and messages come from suites, plug-ins, files and exceptions. A control character in them
moves the cursor of a terminal, a bidirectional override reorders what is read, half of a surrogate pair cannot be
encoded at all. Here such a character becomes its escape as Python writes it (``\x1b``, ``\u202e``).
"""

from __future__ import annotations

import codecs
import re
import unicodedata

__all__ = ["TRANSLITERATE", "plain", "visible"]

# Controls, format characters such as those that reorder text, surrogates, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Two format characters shape letters of some scripts and the pictures of emoji.
_JOINERS = frozenset("\u200c\u200d")
_BLANKS = re.compile(r"[^\S\u00a0]+")
_LINE_BREAKS = re.compile(r"\r\n?|[\n\v\f\x1c-\x1e\x85\u2028\u2029]")

TRANSLITERATE = "bench.transliterate"
"""Name of the error handler for encoders of a smaller character set than Unicode: ``≤`` becomes ``<=``, and what has no
spelling becomes its escape. Nothing raises.
"""
_SPELT = {
    "↑": "^", "↓": "v", "→": "->", "…": "...", "†": "+", "‡": "++", "≤": "<=", "≥": ">=", "×": "x", "·": ".",
    "±": "+-", "∞": "inf", "−": "-", "–": "-", "—": "-", "─": "-", "│": "|", "━": "=", "╸": "-", "╺": "-",
    "\u00a0": " ", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def plain(text: str) -> str:
    """Text as one printable line: a run of white space and line breaks becomes one blank, and ends are trimmed.

    A no-break space stays what it is.
    """
    return visible(_BLANKS.sub(" ", text).strip(" "))


def visible(text: str) -> str:
    r"""Text of several lines in which line breaks (as ``\n``) and tabs are the only control characters.

    Every other character that a reader cannot see, or that a terminal obeys, becomes its escape. Letters of every
    script, blanks, and the joiners inside of words and emoji stay. The result can be encoded as UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in _LINE_BREAKS.sub("\n", text))


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    kind = unicodedata.category(character)
    if kind in _HIDDEN and character not in _JOINERS:
        return character.encode("unicode_escape").decode("ascii")
    return character


def _transliterate(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_SPELT.get(c) or c.encode("unicode_escape").decode("ascii") for c in lost), error.end


codecs.register_error(TRANSLITERATE, _transliterate)
