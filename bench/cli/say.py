"""What commands print: text of others stays text, JSON has standard output for itself, no stream raises."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import IO, Any, TextIO, cast

import click

from bench.plain import TRANSLITERATE, visible

__all__ = ["echo", "echo_document", "echo_json", "is_terminal", "prepare", "reserve", "reserve_stdout", "reserved"]

_RESERVED = f"{__name__}.reserved"


def echo(text: object = "", *, err: bool = False, nl: bool = True, bold: bool = False) -> None:
    """Print text; control characters in it are shown and not obeyed (``bench.plain.visible``)."""
    shown = visible(str(text))
    # The stream is named: of one in ASCII click would otherwise think that it is meant to be UTF-8.
    stream = sys.stderr if err else sys.stdout
    click.echo(click.style(shown, bold=True) if bold else shown, file=stream, err=err, nl=nl)


def echo_document(text: str) -> None:
    """Print a whole file of a format that has dealt with the text of others itself, as it is."""
    click.echo(text, file=reserved(), nl=False)


def reserve(ctx: click.Context, _: click.Parameter, wanted: bool) -> bool:
    """Callback of ``--json``: reserve standard output for the JSON."""
    if wanted:
        reserve_stdout(ctx)
    return wanted


def reserve_stdout(ctx: click.Context) -> None:
    """What plug-ins print while the command runs goes to standard error; its own document goes to standard output."""
    if _RESERVED not in ctx.meta:
        ctx.meta[_RESERVED] = sys.stdout
        ctx.with_resource(contextlib.redirect_stdout(sys.stderr))


def reserved() -> TextIO:
    """Standard output as it was before it was reserved."""
    return cast(TextIO, click.get_current_context().meta.get(_RESERVED, sys.stdout))


def echo_json(facts: Mapping[str, Any]) -> None:
    """Print JSON, in ASCII, on standard output as it was before it was reserved."""
    click.echo(json.dumps(facts, indent=1), file=reserved())


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a person sits at the stream; a closed one is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def prepare() -> None:
    """Make the standard streams of this process fit for any text.

    What their encoding lacks is spelt with what it has. A stream that was closed when the process started is opened on
    nothing: otherwise the next file that is opened takes its number, and what is printed lands in that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=TRANSLITERATE)
