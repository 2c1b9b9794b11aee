"""``bench table``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.cli.say import echo, echo_document, is_terminal, reserve_stdout, reserved
from bench.report.formats import FORMATS

if TYPE_CHECKING:
    from bench.report.model import Report

__all__ = ["register", "show_report"]


def register(cli: click.Group) -> None:
    """Add the command of this module."""
    cli.add_command(table)


@click.command()
@options.suite_argument()
@options.profile
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    help="Default: drawn on a terminal, Markdown elsewhere.",
)
@click.option("--id", "ids", metavar="NAME", multiple=True, help="Only this table; may be repeated.")
@click.option(
    "--definitions/--no-definitions", default=True, show_default=True, help="Say below each table what is measured."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@click.pass_context
def table(
    ctx: click.Context,
    suite: str | None,
    profile: str | None,
    format_: str | None,
    ids: tuple[str, ...],
    definitions: bool,
    out: Path | None,
) -> None:
    """Print the tables of a suite from stored results; nothing is computed.

    Without SUITE: the suite last run. Where the suite cannot be read any more, such as without a plug-in that it names,
    the tables are those that its last run left, and the command says so.
    """
    reserve_stdout(ctx)
    from bench.api import Bench

    bench = Bench.here()
    report = bench.tables(suite, profile=profile).only_tables(ids)
    if report.stored:
        echo(f"bench: {report.stored}", err=True)
    if not definitions:
        report = report.without_definitions()
    if out is None and format_ is None:
        show_report(report)
        return
    text = FORMATS[format_ or "markdown"](report)
    if out is None:
        echo_document(text)
    else:
        from bench.files.atomic import write_atomically

        write_atomically(out, text.encode())


def show_report(report: Report) -> None:
    """Print tables for users: drawn on a terminal, as Markdown into a pipe."""
    if is_terminal(reserved()):
        from rich.console import Console

        from bench.report import terminal

        terminal.render(report, Console(file=reserved()))
    else:
        echo_document(FORMATS["markdown"](report))
