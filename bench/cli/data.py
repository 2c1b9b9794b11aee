"""Published files: ``bench data list``, ``get`` and ``verify``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli import options
from bench.cli.say import echo, echo_json, is_terminal

if TYPE_CHECKING:
    from bench.commands.data import Offer

__all__ = ["data", "progress"]


@click.group()
def data() -> None:
    """Show, download and verify published data sets, and Inception's weights for FID and IS."""


@data.command(name="list")
@options.as_json
def list_(as_json: bool) -> None:
    """List the known data sets: whether they are here and where they are looked for, size, licence and source."""
    from bench.api import Bench
    from bench.commands.data import published_states

    bench = Bench.here()
    states = published_states(bench)
    if as_json:
        roots = {"data": str(bench.settings.data), "weights": str(bench.settings.weights)}
        echo_json({**roots, "entries": [state.as_json() for state in states]})
        return
    echo(f"data: {bench.settings.data}    weights: {bench.settings.weights}")
    for state in states:
        echo(state.name, bold=True)
        items = ", ".join(f"{count:,} {part}" for part, count in state.sizes.items())
        size = f"{state.download / 1e6:,.0f} MB to download" if state.download is not None else "nothing to download"
        folder = os.path.commonpath([Path(file).parent for file in state.files]) if state.files else ""
        echo(f"  {state.text}{f': {folder}' if folder and folder not in state.text else ''}")
        echo(f"  {'; '.join(part for part in (items, size) if part)}")
        echo(f"  licence: {state.license}")
        echo(f"  source: {state.source}")


@data.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_context
def get(ctx: click.Context, names: tuple[str, ...], yes: bool) -> None:
    """Download data sets, or `inception`, after showing size, licence and source and asking.

    torchvision downloads, whole files at a time: a download that broke off is repeated by the same command and skips
    files that are complete. Files are verified against their published checksums before they take their places.
    """
    from bench.api import Bench
    from bench.commands.data import get as begin
    from bench.commands.data import offers
    from bench.errors import RequestError

    for offer in offers(Bench.here(), list(dict.fromkeys(names))):
        if offer.problem is None:
            echo(f"{offer.what.name} is there and verified")
            continue
        _show(offer)
        if not yes and not is_terminal(sys.stdin):
            raise RequestError("bench data get asks before it downloads; without a terminal, agree by --yes")
        if not yes and not click.confirm("download?", err=True):
            echo(f"{offer.what.name} was not downloaded")
            ctx.exit(1)
        begin(offer)
        echo(f"{offer.what.name} is downloaded and verified: {offer.root}")


@data.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@options.as_json
@click.pass_context
def verify(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Read files and compare them with their published checksums: of the named data sets, or of all that are here.

    The exit code is 5 if a file is damaged, or if a named data set is missing.
    """
    from bench.api import Bench
    from bench.commands.data import published_states
    from bench.errors import PrerequisiteError

    states = published_states(Bench.here(), list(dict.fromkeys(names)), verify=True, progress=progress)
    shown = [state for state in states if names or state.files]
    if as_json:
        echo_json({"entries": [state.as_json() for state in shown]})
    else:
        width = max((len(state.name) for state in shown), default=0)
        for state in shown:
            echo(f"{state.name:<{width}}  {state.text}")
        if not shown:
            echo("no file with a published checksum is here; see bench data list")
    if any(state.damaged or not state.found for state in shown):
        ctx.exit(PrerequisiteError.exit_code)


def progress(file: Any, place: int, count: int) -> None:
    """Show on a terminal which file is read."""
    if is_terminal(sys.stderr):
        echo(f"verifying {place + 1} of {count}: {file.path}", err=True)


def _show(offer: Offer) -> None:
    """What a person should know before a download."""
    echo(offer.what.name, bold=True)
    echo(f"  {offer.problem}")
    echo(f"  size: {offer.what.size / 1e6:,.0f} MB, into {offer.root}")
    echo(f"  licence: {offer.license}")
    echo(f"  source: {offer.source}; {offer.what.page}")
