"""What is stored: ``bench table``, ``plot``, ``report``, ``publish``, ``show`` and ``verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli import options
from bench.cli.say import echo, echo_document, echo_json, is_terminal, reserve_stdout, reserved
from bench.errors import RequestError
from bench.report.formats import OFFERED

if TYPE_CHECKING:
    from bench.commands.verify import Verified
    from bench.report.model import Report

__all__ = ["plot", "publish", "report", "show", "show_report", "table", "verify"]


@click.command()
@options.suite_argument()
@options.profile
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(OFFERED)),
    help="Default: drawn on a terminal, Markdown elsewhere.",
)
@click.option("--id", "ids", metavar="NAME", multiple=True, help="Only this table; may be repeated.")
@click.option(
    "--definitions/--no-definitions", default=True, show_default=True, help="Say below each table what is measured."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write to a file instead.")
@click.option(
    "--from",
    "published",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Read a folder that `bench publish` wrote, in place of stored results.",
)
@click.pass_context
def table(
    ctx: click.Context,
    suite: str | None,
    profile: str | None,
    format_: str | None,
    ids: tuple[str, ...],
    definitions: bool,
    out: Path | None,
    published: Path | None,
) -> None:
    """Print the tables of a suite from stored results; nothing is computed.

    Without SUITE: the suite last run. Where the suite cannot be read any more, such as without a plug-in that it names,
    the tables are those that its last run left, and the command says so.
    """
    reserve_stdout(ctx)
    from bench.api import Bench

    if published is None:
        report = Bench.here().tables(suite, profile=profile)
    elif suite is not None or profile is not None:
        raise RequestError(f"--from {published} names the results already; leave the suite and --profile out")
    else:
        from bench.report.publish import read_published

        report = read_published(published)
    report = report.only_tables(ids)
    if report.stored:
        echo(f"bench: {report.stored}", err=True)
    if not definitions:
        report = report.without_definitions()
    if out is None and format_ is None:
        show_report(report)
        return
    text = OFFERED[format_ or "markdown"](report)
    if out is None:
        echo_document(text)
    else:
        from bench.files.atomic import write_atomically

        write_atomically(out, text.encode())


@click.command()
@options.suite_argument()
@options.profile
@click.option("--id", "ids", metavar="NAME", multiple=True, help="Only this figure; may be repeated.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the files.  [default: that of the report]",
)
def plot(suite: str | None, profile: str | None, ids: tuple[str, ...], out: Path | None) -> None:
    """Draw the figures of a suite from stored results, as PNG for the screen and PDF for print; nothing is computed.

    The charts of its tables are drawn, too. Without SUITE: the suite last run.
    """
    from bench.api import Bench

    bench = Bench.here()
    for line in bench.plot(suite, profile=profile, ids=ids, out=out):
        echo(line)


@click.command()
@options.suite_argument()
@options.profile
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The HTML file.  [default: report.html in the folder of the report]",
)
def report(suite: str | None, profile: str | None, out: Path | None) -> None:
    """Write the report of a suite from stored results: one HTML file that needs no other.

    It has the best models in words, the tables with all definitions, the figures and pictures, what is missing and why,
    the models and where the numbers come from. Without SUITE: the suite last run.
    """
    from bench.api import Bench

    echo(str(Bench.here().write_report(suite, profile=profile, out=out)))


@click.command()
@click.argument("suite", metavar="SUITE")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@options.profile
def publish(suite: str, folder: Path, profile: str | None) -> None:
    """Write the results of SUITE into DIR, to send to a colleague or to host as a page.

    DIR gets index.html (the report), tables in every format, figures, the record of every job, and the files of suite
    and profile. `bench table --from DIR` reads it without the plug-ins, data and weights behind it. If DIR is a
    publication of the same suite, it is replaced.
    """
    from bench.api import Bench

    echo(str(Bench.here().publish(folder, suite, profile=profile)))


def show_report(report: Report) -> None:
    """Print tables for users: drawn on a terminal, as Markdown into a pipe."""
    if is_terminal(reserved()):
        from rich.console import Console

        from bench.report import terminal

        terminal.render(report, Console(file=reserved()))
    else:
        echo_document(OFFERED["markdown"](report))


@click.command()
@click.argument("job")
@options.last_suite
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


@click.command()
@options.suite_argument()
@options.profile
@options.only
@options.device
@options.as_json
@click.pass_context
def verify(
    ctx: click.Context, suite: str | None, profile: str | None, only: tuple[str, ...], device: str, as_json: bool
) -> None:
    """Check kept adversarial images again: within the budget, and fooling the model, one by one.

    Attacks keep them with `adversarials = true` in their [[evaluation]]. SUITE defaults to the suite last run. Exits
    with 1 if a claim is not confirmed.
    """
    from bench.api import Bench
    from bench.commands.verify import verify as check

    bench = Bench.here()
    path, profile = (suite, profile) if suite is not None else bench.last(profile)
    found = check(bench, bench.plan(path, profile=profile, only=only), device)
    failed = [one for one in found if not one.holds]
    if as_json:
        echo_json({"verified": [one.as_json() for one in found]})
    else:
        name_width = max(len(one.job) for one in found)
        metric_width = max(len(one.metric) for one in found)
        for one in found:
            echo(f"{one.job:<{name_width}}  {one.metric:<{metric_width}}  {_verdict(one)}")
        total = sum(one.claimed for one in found)
        echo(
            f"{total} adversarial images of {len(found)} number{'s' if len(found) > 1 else ''}: "
            + ("every claim holds" if not failed else f"{len(failed)} {'does' if len(failed) == 1 else 'do'} not hold")
        )
    if failed:
        ctx.exit(1)


def _verdict(one: Verified) -> str:
    if one.problem is not None:
        return f"NOT CONFIRMED: {one.problem}"
    text = f"{one.confirmed} of {one.claimed} confirmed"
    text += f", {one.rounding} within rounding" if one.rounding else ""
    lost = one.claimed - one.confirmed - one.rounding
    text += f", {lost} NOT CONFIRMED" if lost else ""
    if one.largest is not None:
        pixels = one.eps is not None and "/255" in one.eps
        size = f"{one.largest * 255:.4g}/255" if pixels else f"{one.largest:.4g}"
        text += f"; largest norm {size}{f' of {one.eps}' if one.eps is not None else ''}"
    if one.measured is not None and one.recorded is not None:
        shown = "{:.1%}" if one.eps is not None else "{:.4g}"
        text += f"; {shown.format(one.measured)} (record: {shown.format(one.recorded)})"
    return text
