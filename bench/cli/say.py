"""Output of commands. Control characters are escaped, JSON has standard output for itself, and no stream raises."""

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
    """Print text; control characters in it are made visible (``bench.plain.visible``)."""
    shown = visible(str(text))
    # The stream is passed explicitly: otherwise click treats an ASCII stream as UTF-8.
    stream = sys.stderr if err else sys.stdout
    click.echo(click.style(shown, bold=True) if bold else shown, file=stream, err=err, nl=nl)


def echo_document(text: str) -> None:
    """Print a whole document unchanged; its format has already escaped the text of others."""
    click.echo(text, file=reserved(), nl=False)


def reserve(ctx: click.Context, _: click.Parameter, wanted: bool) -> bool:
    """Callback of ``--json``: reserve standard output for JSON."""
    if wanted:
        reserve_stdout(ctx)
    return wanted


def reserve_stdout(ctx: click.Context) -> None:
    """Send the output of plug-ins to standard error while the command runs; its document goes to standard output."""
    if _RESERVED not in ctx.meta:
        ctx.meta[_RESERVED] = sys.stdout
        ctx.with_resource(contextlib.redirect_stdout(sys.stderr))


def reserved() -> TextIO:
    """Standard output as it was before it was reserved."""
    return cast(TextIO, click.get_current_context().meta.get(_RESERVED, sys.stdout))


def echo_json(facts: Mapping[str, Any], *, versioned: bool = True) -> None:
    """Print JSON, in ASCII, on standard output as it was before it was reserved.

    Args:
        facts: The document.
        versioned: Whether it begins with ``"schema"``, the version of what the commands print.
    """
    document = {"schema": 1, **facts} if versioned else facts
    echo_document(f"{json.dumps(document, indent=1)}\n")


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether the stream is a terminal; a closed stream is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def prepare() -> None:
    """Make the standard streams of this process accept any text.

    Characters that their encoding lacks are replaced by characters that it has. A stream that was closed when the
    process started is opened on the null device: otherwise the next file that is opened takes its number and receives
    the output.
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
