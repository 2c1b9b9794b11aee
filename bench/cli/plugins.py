"""For authors of plug-ins: ``bench new`` and ``bench check-plugin``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from bench.cli import options
from bench.cli.say import echo, echo_json

__all__ = ["check_plugin", "new"]

KINDS = ("family", "evaluation", "attack", "score", "backbone", "dataset")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
def new(kind: str, name: str) -> None:
    """Write a plug-in that works, with its contract test and a suite, into the current folder.

    NAME is in lower case, such as my-family. No file is overwritten.

    \b
    Example:
      bench new family my-family
    """
    from bench.commands.new import write_skeleton

    written = write_skeleton(kind, name, Path.cwd())
    for path in written.files:
        echo(f"wrote {path}")
    echo("\nNext:")
    for command in written.commands:
        echo(f"  {command}")


@click.command(name="check-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="Which of several plug-ins with this name.")
@click.option(
    "--set", "values", metavar="KEY=VALUE", multiple=True, help="A parameter, as a suite has it; may be repeated."
)
@click.option("--family", help="Family of the small model that an evaluation, attack or score is checked on.")
@options.as_json
@click.pass_context
def check_plugin(
    ctx: click.Context, name: str, kind: str | None, values: tuple[str, ...], family: str | None, as_json: bool
) -> None:
    """Run the contract tests of a plug-in: a line for each check, exit code 1 if one fails.

    NAME is a registered name, or module:ATTRIBUTE of a module that can be imported (PYTHONPATH=.).

    \b
    Examples:
      PYTHONPATH=. bench check-plugin my_family:SPEC --set sampler.steps=5
      bench check-plugin pgd --kind evaluation --set 'eps=["8/255"]'
    """
    from bench.commands.parameters import parse_parameters
    from bench.conformance import checks

    rows: list[dict[str, Any]] = []
    for check in checks(name, kind=kind, params=parse_parameters(values), family=family):
        began = time.perf_counter()
        problem = _problem(ctx, check)
        took = time.perf_counter() - began
        rows.append({"check": check.name, "ok": problem is None, "problem": problem, "seconds": round(took, 3)})
        if not as_json:
            # One mistake may fail every check that builds on the first.
            said = "as above" if problem in [row["problem"] for row in rows[:-1]] else problem
            echo(f"ok    {check.name}" if problem is None else f"FAIL  {check.name}\n      {said}")
    failed = sum(not row["ok"] for row in rows)
    if as_json:
        echo_json({"plugin": name, "checks": rows})
    else:
        echo(f"{len(rows) - failed} of {len(rows)} checks passed")
    ctx.exit(1 if failed else 0)


def _problem(ctx: click.Context, check: Any) -> str | None:
    """Why a check fails, with the place in the plug-in's code if it raised something of its own."""
    import traceback

    from bench.errors import BenchError

    try:
        check()
    except BenchError as error:
        return str(error)
    except Exception as error:  # a plug-in may raise anything
        parent = ctx.parent
        if parent is not None and parent.params.get("debug"):
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})"
    return None
