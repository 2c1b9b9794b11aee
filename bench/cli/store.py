"""The store as a whole: ``bench store merge``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from bench.cli import options
from bench.cli.say import echo, echo_json

__all__ = ["store"]


@click.group()
def store() -> None:
    """Commands on the store of results as a whole."""


@store.command()
@click.argument("other", metavar="OTHER", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", "dry", is_flag=True, help="Only say what would be copied.")
@options.as_json
@click.pass_context
def merge(ctx: click.Context, other: Path, dry: bool, as_json: bool) -> None:
    """Copy the results that this store lacks from OTHER, a results folder of another machine.

    Every file is verified before and after it is copied. A result that this store has stays, and a result that was made
    with other weights than this store holds is left out. OTHER is not changed. Exits with 1 if a result of OTHER is
    damaged.
    """
    from bench.api import Bench
    from bench.commands.merge import merge as merged
    from bench.commands.merge import other_store

    found = list(merged(Bench.here().store, other_store(other), dry=dry))
    counts: Counter[str] = Counter(one.outcome for one in found)
    if as_json:
        echo_json({"merged": [vars(one) for one in found], "counts": dict(counts)})
    else:
        for one in found:
            if one.why:
                echo(f"{one.outcome:<8}  {one.job}: {one.why}")
        said = {"taken": "would be copied" if dry else "copied", "same": "were here already"}
        said |= {"kept": "kept as they are here", "outdated": "left out: made with other weights"}
        said |= {"damaged": "damaged in OTHER", "busy": "busy here"}
        echo(", ".join(f"{counts[name]} {text}" for name, text in said.items() if counts[name]))
    if counts["damaged"]:
        ctx.exit(1)
