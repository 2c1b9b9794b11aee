"""What a machine has: ``bench list``, ``describe``, ``schema``, ``doctor`` and ``clean``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.cli.data import progress
from bench.cli.say import echo, echo_json

if TYPE_CHECKING:
    from bench.api import Bench

__all__ = ["clean", "describe", "doctor", "list_", "schema"]

KINDS = ("families", "backbones", "datasets", "evaluations", "attacks", "scores", "suites", "profiles", "engines")
FILES = ("suite", "profile", "settings")


@click.command(name="list")
@click.argument("kind", type=click.Choice(KINDS))
@options.as_json
def list_(kind: str, as_json: bool) -> None:
    """List what can be used in suites, by kind; a broken plug-in is shown as broken."""
    from bench.commands.describe import listing

    rows = listing(kind)
    if as_json:
        echo_json({"kind": kind, "entries": [row.as_dict() for row in rows]})
        return
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        note = f"  [{row.origin}]" if row.origin not in ("bench", "gmmc-bench") else ""
        text = f"BROKEN: {row.error}" if row.error else row.summary
        echo(f"{row.name:<{width}}  {text}{note}")


@click.command()
@click.argument("name")
@click.option("--suite", metavar="SUITE", help="Where to look for a column. Default: the suite last run, then all.")
@options.profile
@options.as_json
def describe(name: str, suite: str | None, profile: str | None, as_json: bool) -> None:
    """Explain whatever has a name: definition, parameters, defaults, units, source.

    NAME is a family, backbone, data set, evaluation, attack, score, suite or profile; a metric, such as fcd or
    calibration.ece; a column of a table, such as pgd-40.margin@8/255; a flag or word beside a number, such as GRAD0 or
    masked.
    """
    from bench.api import Bench
    from bench.commands.describe import description

    text = description(Bench.here(), name, suite, profile)
    if as_json:
        echo_json({"name": name, "lines": text.splitlines()})
        return
    echo(text)


@click.command()
@click.argument("kind", type=click.Choice(FILES), default="suite")
def schema(kind: str) -> None:
    """Print the JSON schema of suites (or of profiles, or of bench.toml), by which editors complete and check keys.

    It lists the parameters of every family and evaluation that is installed.

    \b
    Example:
      bench schema > schema.json     and in the first line of a suite beside it:   #:schema ./schema.json
    """
    from bench.commands.schema import schema as made

    echo_json(made(kind), versioned=False)


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
@click.option("--speed", is_flag=True, help="Measure this machine for `bench plan` instead: half a minute.")
@click.option(
    "--suite", metavar="SUITE", help="With --speed: whose networks. Default: the suite last run, or the default."
)
@options.profile
@options.kind_of_device
@options.as_json
@click.pass_context
def doctor(
    ctx: click.Context,
    verify: bool,
    speed: bool,
    suite: str | None,
    profile: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Show versions, devices, folders, and which data sets and weights are found and where each may be put.

    With --verify the exit code is 5 if a file is damaged.

    With --speed it measures how fast the networks of a suite run on this machine (forward passes, input gradients and
    training updates, in float32, one thread on a CPU) and keeps the speeds in the user's cache folder, by device and
    version of torch. `bench plan` makes hours of network passes with them. Run it while nothing else runs.
    """
    from bench.api import Bench
    from bench.commands.clean import examine
    from bench.commands.data import damaged
    from bench.errors import PrerequisiteError, RequestError

    if speed:
        _measure_speed(Bench.here(), suite, profile, device, as_json)
        return
    if suite is not None or profile is not None or device != "auto":
        raise RequestError("--suite, --profile and --device of bench doctor belong to --speed")
    sections = examine(Bench.here(), verify=verify, progress=progress)
    _show(sections, as_json)
    if verify and damaged(sections):
        ctx.exit(PrerequisiteError.exit_code)


def _measure_speed(bench: Bench, suite: str | None, profile: str | None, device: str, as_json: bool) -> None:
    from bench.commands.speed import measure_speed

    found = measure_speed(bench, suite, profile, device, lambda network: echo(f"measuring {network} …", err=True))
    if as_json:
        echo_json(found.as_json())
        return
    echo(found.name, bold=True)
    for speed in found.speeds.values():
        rates = ", ".join(
            f"{1 / seconds:,.0f} {what}"
            for seconds, what in (
                (speed.forward, "forward passes"),
                (speed.gradient, "input gradients"),
                (speed.update, "training updates"),
            )
        )
        echo(f"  {speed.network}, batches of {speed.batch}: {rates} of one image a second")


def _show(sections: Mapping[str, Mapping[str, str]], as_json: bool) -> None:
    if as_json:
        echo_json(sections)
        return
    for title, facts in sections.items():
        echo(title, bold=True)
        width = max(len(name) for name in facts)
        for name, text in facts.items():
            echo(f"  {name:<{width}}  {text}")
