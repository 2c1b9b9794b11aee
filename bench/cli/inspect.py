"""``bench list``, ``describe``, ``schema`` and ``show``."""

from __future__ import annotations

import click

from bench.cli import options
from bench.cli.say import echo, echo_json

__all__ = ["register"]

KINDS = ("families", "backbones", "datasets", "evaluations", "attacks", "scores", "suites", "profiles")
FILES = ("suite", "profile", "settings")


def register(cli: click.Group) -> None:
    """Add the commands of this module."""
    for command in (list_, describe, schema, show):
        cli.add_command(command)


@click.command(name="list")
@click.argument("kind", type=click.Choice(KINDS))
@options.as_json
def list_(kind: str, as_json: bool) -> None:
    """List what can be used in suites, by kind; a broken plug-in is shown as broken."""
    from bench.commands.describe import listing

    rows = listing(kind)
    if as_json:
        echo_json({"schema": 1, "kind": kind, "entries": [row.as_dict() for row in rows]})
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

    NAME is a family, backbone, data set, evaluation, attack, score, suite or profile; a metric of an evaluation, such
    as calibration.ece; or a column of a table, such as pgd-40.margin@8/255.
    """
    from bench.api import Bench
    from bench.commands.describe import description

    text = description(Bench.here(), name, suite, profile)
    if as_json:
        echo_json({"schema": 1, "name": name, "lines": text.splitlines()})
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

    echo_json(made(kind))


@click.command()
@click.argument("job")
@click.option("--suite", metavar="SUITE", help="Default: the suite last run.")
@options.profile
@options.as_json
def show(job: str, suite: str | None, profile: str | None, as_json: bool) -> None:
    """Show what a job left: its numbers with their definitions, training history, traceback and log.

    JOB is an id as in `bench plan`, such as gmmc-gen/digits/seed1/train, or the beginning of a key.
    """
    from bench.api import Bench
    from bench.report.job import find_job, job_text

    found = find_job(Bench.here(), job, suite, profile)
    if as_json:
        facts = {
            "schema": 1,
            "job": found.id,
            "state": found.status.state,
            "reason": found.status.reason,
            "because": list(found.because),
            "folder": str(found.folder.path),
            "spec": found.planned.spec,
            "record": found.folder.record_json(),
            "error": found.folder.error(),
            "log": found.folder.log(),
        }
        echo_json(facts)
        return
    echo(job_text(found))
