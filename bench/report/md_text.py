"""Any text as Markdown that shows it as it is spelt: GitHub's dialect, in a cell, a list item or a paragraph.

Only what would mean something is escaped, so that the source stays legible: ``L_inf``, ``n <= 400`` and ``[8/255]``
need nothing.
"""

from __future__ import annotations

import re

from bench.plain import plain

__all__ = ["escaped"]

_MEANING = re.compile(
    r"""
      (?P<backslash> \\ (?= [!-/:-@\[-`{-~] | $ ) )           # an escape where punctuation follows
    | (?P<less> < (?= [A-Za-z/!?] ) )                        # a tag, a comment, an address
    | (?P<and> & (?= \# | [A-Za-z][A-Za-z0-9]* ; ) )         # an entity
    | ^ (?P<number> \d+ ) (?= [.)] (?: [ ] | $ ) )           # a numbered list
    | (?P<other>
          [*`~$|]                                            # emphasis, code, strike-through, formula; end of a cell
        | _ (?! [^\W_] ) | (?<! [^\W_] ) _                   # emphasis, but not inside of a word
        | \] (?= \( ) | ^ \[                                 # a link, a picture; the definition of one, a box to tick
        | ^ (?: \# | > | [-+=] (?= [ =+-] | $ ) )            # a heading, a quotation, a list, a rule
      )
    """,
    re.VERBOSE,
)


def escaped(text: str) -> str:
    """Text as one line of Markdown; ``bench.plain.plain`` says what becomes of line breaks and control characters."""
    return _MEANING.sub(_escape, plain(text))


def _escape(match: re.Match[str]) -> str:
    name, found = match.lastgroup, match.group()
    if name == "number":
        return f"{found}\\"
    # An entity where a backslash would do: readers of tables do not agree on a bar behind two backslashes.
    entity = {"backslash": "&#92;", "less": "&lt;", "and": "&amp;"}.get(str(name))
    return entity if entity is not None else f"\\{found}"
