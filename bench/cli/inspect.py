"""``bench list``, ``describe`` and ``show``."""

from __future__ import annotations

import json

import click

from bench.cli import options

__all__ = ["register"]

KINDS = ("families", "backbones", "datasets", "evaluations", "attacks", "suites", "profiles")


def register(cli: click.Group) -> None:
    """Add the commands of this module."""
    for command in (list_, describe, show):
        cli.add_command(command)


@click.command(name="list")
@click.argument("kind", type=click.Choice(KINDS))
@options.as_json
def list_(kind: str, as_json: bool) -> None:
    """List what can be used in suites, by kind; a broken plug-in is shown as broken."""
    from bench.catalogue import listing

    rows = listing(kind)
    if as_json:
        click.echo(json.dumps({"schema": 1, "kind": kind, "entries": [row.as_dict() for row in rows]}, indent=1))
        return
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        note = f"  [{row.origin}]" if row.origin not in ("bench", "gmmc-bench") else ""
        text = f"BROKEN: {row.error}" if row.error else row.summary
        click.echo(f"{row.name:<{width}}  {text}{note}")


@click.command()
@click.argument("name")
@options.as_json
def describe(name: str, as_json: bool) -> None:
    """Explain a family, backbone, data set, evaluation or attack: parameters, defaults, units, source.

    For a metric, give `<evaluation>.<metric>`, such as calibration.ece: its definition.
    """
    from bench.catalogue import description

    text = description(name)
    if as_json:
        click.echo(json.dumps({"schema": 1, "name": name, "lines": text.splitlines()}, indent=1))
        return
    click.echo(text)


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
    from bench.catalogue import find_job, job_text

    bench = Bench.here()
    found, folder = find_job(bench, job, suite, profile)
    if as_json:
        facts = {
            "schema": 1,
            "job": found,
            "state": folder.state(),
            "folder": str(folder.path),
            "record": folder.record(),
            "error": folder.error(),
            "log": folder.log(),
        }
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(job_text(found, folder))
