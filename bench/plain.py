r"""Makes foreign text safe to print: control characters become visible escapes.

Labels, titles, reasons and messages come from suites, plug-ins, files and exceptions. A control character in them
can move the cursor of a terminal, a bidirectional override reorders the text, and half of a surrogate pair cannot be
encoded at all. Such a character is replaced by its escape in Python (``\x1b``, ``\u202e``).
"""

from __future__ import annotations

import codecs
import re
import unicodedata

__all__ = ["TRANSLITERATE", "plain", "several", "visible"]

# Control characters, format characters such as those that reorder text, surrogates, line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# These two format characters join letters in some scripts, and parts of emoji.
_JOINERS = frozenset("\u200c\u200d")
_BLANKS = re.compile(r"[^\S\u00a0]+")
_LINE_BREAKS = re.compile(r"\r\n?|[\n\v\f\x1c-\x1e\x85\u2028\u2029]")

TRANSLITERATE = "bench.transliterate"
"""Name of the error handler for encodings smaller than Unicode: ``≤`` becomes ``<=``, and a character without a
transliteration becomes its escape. It never raises.
"""
_SPELT = {
    "↑": "^", "↓": "v", "→": "->", "…": "...", "†": "+", "‡": "++", "≤": "<=", "≥": ">=", "×": "x", "·": ".",
    "±": "+-", "∞": "inf", "−": "-", "–": "-", "—": "-", "─": "-", "│": "|", "━": "=", "╸": "-", "╺": "-",
    "\u00a0": " ", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def several(count: int, what: str) -> str:
    """A number of things, in the singular if it is one.

    >>> several(1, "job"), several(1234, "job")
    ('1 job', '1,234 jobs')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def plain(text: str) -> str:
    """Text as one printable line: each run of white space and line breaks becomes one blank, and ends are trimmed.

    No-break spaces are kept.
    """
    return visible(_BLANKS.sub(" ", text).strip(" "))


def visible(text: str) -> str:
    r"""Text of several lines in which line breaks (``\n``) and tabs are the only control characters.

    Every other character that is invisible, or that controls a terminal, becomes its escape. Letters of every
    script, blanks, and the joiners in words and emoji are kept. The result can be encoded as UTF-8.
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
