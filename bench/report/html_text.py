"""Any text as HTML that shows it as it is spelt: between tags and in the values of attributes."""

from __future__ import annotations

from html import escape

from bench.plain import plain

__all__ = ["escaped"]


def escaped(text: str) -> str:
    """Text as one line of HTML, quotation marks escaped too; ``bench.plain.plain`` says what becomes of control
    characters.
    """
    return escape(plain(text))
