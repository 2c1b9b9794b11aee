"""``bench clean`` and ``doctor``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from bench.cli import options
from bench.cli.say import echo, echo_json

__all__ = ["register"]


def register(cli: click.Group) -> None:
    """Add the commands of this module."""
    for command in (clean, doctor):
        cli.add_command(command)


@click.command()
@click.option("--yes", is_flag=True, help="Delete. Without it the command only shows what it would delete.")
@click.option(
    "--keep",
    metavar="SUITE",
    multiple=True,
    help="A further suite whose results to keep, by path; may be repeated.",
)
@options.as_json
def clean(yes: bool, keep: tuple[str, ...], as_json: bool) -> None:
    """Delete stored results that no suite refers to, and what kills left. Shows first; deletes with --yes.

    Kept is what any suite in suites/ refers to, with and without each profile, what the last run of any suite elsewhere
    referred to as long as its file is there, and what a command at work refers to. Of what is kept, files go that no
    checkpoint needs: a kill left them. Where anything of this cannot be read, nothing is deleted.
    """
    from bench.api import Bench
    from bench.commands.clean import orphaned, remove, remove_orphaned, unreferenced

    bench = Bench.here()
    found = unreferenced(bench, keep)
    whole = {item.folder.key for item in found}
    left = [item for item in orphaned(bench) if item.folder.key not in whole]
    total = sum(item.size for item in found)
    removed = remove(bench, found) if yes else []
    swept = remove_orphaned(left) if yes else []
    if as_json:
        echo_json(
            {
                "schema": 1,
                "unreferenced": [{"job": i.name, "key": i.folder.key, "bytes": i.size} for i in found],
                "removed": [item.folder.key for item in removed],
                "orphaned": [{"job": i.name, "key": i.folder.key, "bytes": i.size} for i in left],
                "swept": [item.folder.key for item in swept],
            }
        )
        return
    for item in found:
        echo(f"{item.size / 1e6:10.2f} MB  {item.folder.key[:12]}  {item.name}")
    for item in left:
        gone = "; deleted" if item in swept else ""
        echo(f"{item.size / 1e6:10.2f} MB  {item.folder.key[:12]}  {item.name}: needed by no checkpoint{gone}")
    if yes:
        echo(f"deleted {len(removed)} of {len(found)} results, {sum(i.size for i in removed) / 1e6:.1f} MB")
    else:
        what = f"{len(found)} results, {total / 1e6:.1f} MB, are referred to by no suite"
        echo(what + ("; delete them with: bench clean --yes" if found or left else ""))


@click.command()
@click.option("--verify", is_flag=True, help="Read every file with a published checksum, and say which are damaged.")
@options.as_json
@click.pass_context
def doctor(ctx: click.Context, verify: bool, as_json: bool) -> None:
    """Show versions, devices, folders, and which data sets and weights are found and where each may be put.

    With --verify the exit code is 5 if a file is damaged.
    """
    from bench.api import Bench
    from bench.commands.clean import damaged, examine
    from bench.errors import PrerequisiteError

    def progress(file: Any, place: int, count: int) -> None:
        if sys.stderr.isatty():
            echo(f"verifying {place + 1} of {count}: {file.path}", err=True)

    sections = examine(Bench.here(), verify=verify, progress=progress)
    _show(sections, as_json)
    if verify and damaged(sections):
        ctx.exit(PrerequisiteError.exit_code)


def _show(sections: Mapping[str, Mapping[str, str]], as_json: bool) -> None:
    if as_json:
        echo_json({"schema": 1, **sections})
        return
    for title, facts in sections.items():
        echo(title, bold=True)
        width = max(len(name) for name in facts)
        for name, text in facts.items():
            echo(f"  {name:<{width}}  {text}")
