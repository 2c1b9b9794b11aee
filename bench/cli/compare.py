"""``bench compare`` and ``bench gate``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.cli.results import show_report
from bench.cli.say import echo, echo_document, echo_json, reserve_stdout
from bench.report.formats import OFFERED

if TYPE_CHECKING:
    from bench.compare.gate import Checked, GateResult

__all__ = ["BROKEN", "compare", "gate"]

BROKEN = 4
"""Exit code of a gate with a broken rule."""

_folder = click.Path(file_okay=False, path_type=Path)


@click.command()
@options.suite_argument()
@options.profile
@click.option("--baseline", metavar="MODEL", help="Label or name of the model to compare with.  [default: the first]")
@click.option(
    "--against", metavar="FOLDER", type=_folder, help="Compare with the run of the suite in this results folder."
)
@click.option("--format", "format_", type=click.Choice(list(OFFERED)), help="Default: as for bench table.")
@options.as_json
@click.pass_context
def compare(
    ctx: click.Context,
    suite: str | None,
    profile: str | None,
    baseline: str | None,
    against: Path | None,
    format_: str | None,
    as_json: bool,
) -> None:
    """Print differences between models, or between two runs, from stored results; nothing is computed.

    Each number is compared with that of the baseline model, or with --against with the number of the model of the same
    label in another results folder. The table says for each difference its interval and p, once for these weights (over
    test items) and, with several seeds, once for these families (over seeds). With --against it also says in what the
    two runs differ: configuration, data, code, versions.
    """
    reserve_stdout(ctx)
    from bench.api import Bench

    if baseline is not None and against is not None:
        raise click.UsageError("--baseline compares models, --against compares runs: give one of the two")
    report = Bench.here().compare(suite, profile=profile, baseline=baseline, against=against)
    if as_json or format_ is not None:
        echo_document(OFFERED["json" if as_json else str(format_)](report))
    else:
        show_report(report)


@click.command()
@options.suite_argument()
@options.profile
@click.option(
    "--against",
    metavar="RESULTS",
    type=_folder,
    help="Results folder of the baseline.  [default: that of the suite's [gate]]",
)
@click.option("--rule", "rules", metavar="RULE", multiple=True, help="Such as 'accuracy >= -0.005'; may be repeated.")
@options.as_json
@click.pass_context
def gate(
    ctx: click.Context,
    suite: str | None,
    profile: str | None,
    against: Path | None,
    rules: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check a run against a baseline and exit with 4 if a rule is broken; for continuous integration.

    \b
    Rules:
      'accuracy >= -0.005'            the mean may fall by half a point, not more
      'calibration.ece <= 0.01'       the error may rise by one point
      'pgd-40@* not worse at 0.05'    no significant loss, p corrected over the models

    A rule is about the difference of means to the model of the same label in the baseline, in fractions. Names of
    columns may be glob patterns. Without --rule those of the suite's [gate] hold. A number that the baseline has and
    this run lacks breaks a rule, unless it is n/a by design.

    \b
    Exit codes: 0 all rules are kept, 4 a rule is broken, 2 a rule is wrong, 3 a rule compared nothing.
    """
    reserve_stdout(ctx)
    from bench.api import Bench

    found = Bench.here().gate(suite, profile=profile, against=against, rules=rules)
    if as_json:
        checks = [{**asdict(one), "rule": one.rule.text} for one in found.checks]
        echo_json({"kept": not found.broken, "compared": found.compared, "checks": checks})
    else:
        _show(found)
    ctx.exit(BROKEN if found.broken else 0)


def _show(found: GateResult) -> None:
    for one in found.checks:
        word = {True: "kept", False: "BROKEN", None: "not compared"}[one.kept]
        echo(f"{word}: {one.rule.text} | {one.label}, {one.column}: {_said(one)}")
    count = len(found.broken)
    echo(f"{found.compared} comparisons, {count} broken" if count else f"{found.compared} comparisons, all rules kept")


def _said(one: Checked) -> str:
    if one.difference is None:
        return one.reason
    text = f"{one.value:.6g} against {one.baseline:.6g}, difference {round(one.difference, 12):+.6g}"
    return text + (f", p = {one.p:.3g}" if one.p is not None else "") + (f"; {one.reason}" if one.reason else "")
