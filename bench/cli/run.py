"""``bench run``, ``check`` and ``status``."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from bench.cli import options
from bench.cli.plan import plan, price, to_run
from bench.cli.results import show_report
from bench.cli.say import echo, echo_json, is_terminal, reserved
from bench.plain import several

__all__ = ["check", "run", "status"]


@click.command()
@options.suite_argument()
@options.profile
@options.only
@options.kind_of_device
@options.workers
@click.option(
    "--on",
    metavar="ENGINE",
    default="local",
    show_default=True,
    help="Where jobs run: on this machine, or slurm: in the queue of a cluster ([cluster] of bench.toml).",
)
@click.option("--cancel", is_flag=True, help="If interrupted, cancel the jobs in the queue of a cluster, unasked.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop: the same as `bench plan`.")
@click.option(
    "--force",
    metavar="GLOB",
    multiple=True,
    help="Drop the results of matching jobs first, and all that depends on them.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 if a job is n/a or diverged, too.")
@click.option("--tables/--no-tables", default=True, help="Print the tables at the end.", show_default=True)
@options.as_json
@click.pass_context
def run(
    ctx: click.Context,
    suite: str | None,
    profile: str | None,
    only: tuple[str, ...],
    device: str,
    workers: int | None,
    on: str,
    cancel: bool,
    dry_run: bool,
    force: tuple[str, ...],
    strict: bool,
    as_json: bool,
    tables: bool,
) -> None:
    """Train and evaluate what has no result yet, then print the tables.

    Without SUITE the default suite of bench.toml runs; where no file names one, you are asked first. Interrupt it at
    will; the same command continues.

    \b
    Examples:
      bench run suites/robustness.toml
      bench run robustness --profile smoke
      bench run digits --only 'softmax/*' --force '*/train'
      bench run robustness --on slurm
    """
    if dry_run:
        ctx.invoke(plan, suite=suite, profile=profile, only=only, device=device, workers=workers, as_json=as_json)
        return
    from bench.api import Bench

    bench = Bench.here()
    if suite is None and not bench.settings.names_suite:
        _agree(bench, profile, only)
    for text in bench.warnings(bench.suite(suite, profile)):
        echo(f"warning: {text}", err=True)
    display = _display(bench, bench.slots(on, device, workers), as_json)
    with contextlib.closing(display):  # an error leaves the terminal as it was
        outcome = bench.run(
            suite,
            profile=profile,
            only=only,
            device=device,
            workers=workers,
            force=force,
            display=display,
            on=on,
        )
    if outcome.summary.interrupted and outcome.detached is not None:
        _leave(outcome.detached, cancel)
    if not as_json and not outcome.summary.interrupted:
        _show_result(bench, outcome, tables, profile)
    ctx.exit(outcome.exit_code(strict=strict))


def _leave(detached: Any, cancel: bool) -> None:
    """After an interrupt: cancel the jobs that are still in a queue or leave them there; ask if there is a terminal."""
    left = detached.left()
    if not left:
        return
    if not cancel and is_terminal(sys.stdin) and is_terminal(sys.stderr):
        with contextlib.suppress(click.Abort):  # a second Ctrl-C leaves them
            cancel = click.confirm(f"{several(len(left), 'job')} in the queue; cancel?", default=False, err=True)
    if cancel:
        detached.cancel()
        echo(f"cancelled {several(len(left), 'job')}", err=True)
    else:
        told = f"left in the queue: {several(len(left), 'job')} ({' '.join(left)})"
        echo(f"{told}; the same command takes the results", err=True)


def _agree(bench: Any, profile: str | None, only: tuple[str, ...]) -> None:
    """Print what would run and ask for consent, because the user did not name the suite.

    Raises:
        RequestError: There is no terminal to ask on, or the answer is no.
    """
    from bench.errors import RequestError

    chosen = bench.plan(None, profile=profile, only=only)
    name = bench.settings.default_suite
    text = (
        f"no suite was named, and no bench.toml here or above says which is the default.\n"
        f"The demo is {name!r}: {chosen.suite.title}; minutes on two CPU cores at full size.\n"
        f"{to_run(price(bench, chosen, bench.states(chosen)))}\n"
        f"Results would be written below {bench.settings.results}"
    )
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise RequestError(f"{text}\nTo run it, name it: bench run {name}")
    echo(text, err=True)
    if not click.confirm("Run it?", err=True):
        raise RequestError(f"nothing was run; name a suite: bench run {name}, or see bench list suites")


def _display(bench: Any, used: list[str], as_json: bool) -> Any:
    from bench.execute.displays import JsonDisplay, PlainDisplay
    from bench.execute.estimate import Rates
    from bench.execute.live import LiveDisplay

    if as_json:
        return JsonDisplay(reserved())
    rates = Rates.from_store(bench.store, used[0])
    if is_terminal(sys.stderr):
        from rich.console import Console

        console = Console(stderr=True)
        if not console.is_dumb_terminal:  # a terminal that cannot move its cursor gets plain lines
            return LiveDisplay(console, rates, len(used))
    return PlainDisplay(sys.stderr, rates, len(used))


def _show_result(bench: Any, outcome: Any, tables: bool, profile: str | None) -> None:
    from bench.report.files import write_report

    if tables:
        # The whole suite, even if --only ran a part of it: the tables include the results of earlier runs.
        whole = bench.whole(outcome.plan)
        report = outcome.report or bench.report(whole)
        show_report(report)
        echo("drawing the figures of the report", err=True)
        echo(f"\nreport: {write_report(bench, whole, report, profile)[0]}")
    states = outcome.summary.states
    failed = [job for job in outcome.plan.jobs if states[job.key].state == "failed"]
    for job in failed:
        if not states[job.key].of_input:
            echo(f"failed: {job.id}: {states[job.key].reason}; bench show {job.id}", err=True)
    waiting = sum(states[job.key].of_input for job in failed)
    if waiting:
        echo(f"{waiting} more failed because they read what these would have left", err=True)


@click.command()
@options.suite_argument(required=True)
@options.profile
def check(suite: str, profile: str | None) -> None:
    """Read a suite and report every mistake in it with file, line, key and the nearest valid name.

    What a run could not do is a mistake, too: too few items for a batch, weights that do not fit. What a plug-in
    declares is held against its contract.
    """
    from bench.api import Bench
    from bench.report.literature import load_literature

    bench = Bench.here()
    chosen = bench.plan(suite, profile=profile)
    leaves = chosen.suite.leaves
    tables = chosen.suite.all_tables
    for name in dict.fromkeys(name for table in tables for name in table.literature):
        load_literature(name, bench.settings.literature)
    missing = dict.fromkeys(job.blocked for job in chosen.jobs if job.blocked)
    counts = {
        "model": sum(len(leaf.models) for leaf in leaves),
        "evaluation": sum(len(leaf.evaluations) for leaf in leaves),
        "table": len(tables),
        "job": len(chosen.jobs),
    }
    told = ", ".join(several(count, what) for what, count in counts.items())
    echo(f"{chosen.suite.path}: ok, {told}")
    for text in bench.warnings(chosen.suite):
        echo(f"warning: {text}")
    for reason in missing:
        echo(f"n/a: {reason}")


@click.command()
@options.suite_argument()
@options.profile
@click.option("--verify", is_flag=True, help="Hash every file of every result; damage that no date shows is found.")
@options.as_json
def status(suite: str | None, profile: str | None, verify: bool, as_json: bool) -> None:
    """Show where every job of a suite stands: done, running, failed, stale, damaged, diverged, n/a or pending.

    A result is damaged if its record or one of its files is missing or not what was written: `bench run` makes it
    again. Files are hashed if their size or times have changed, with --verify all of them.

    Without SUITE: the suite last run.
    """
    from bench.api import Bench

    bench = Bench.here()
    if suite is None:
        suite, profile = bench.last(profile)
    chosen = bench.plan(suite, profile=profile)
    states = bench.states(chosen, thorough=verify)
    if as_json:
        rows = [
            {"job": job.id, "key": job.key, "state": states[job.key].state, "reason": states[job.key].reason}
            for job in chosen.jobs
        ]
        echo_json({"suite": chosen.suite.name, "profile": profile, "jobs": rows})
        return
    counts: dict[str, int] = {}
    for job in chosen.jobs:
        state = states[job.key].state
        counts[state] = counts.get(state, 0) + 1
        if state not in ("done", "pending") or states[job.key].reason:
            echo(f"{state:<9} {job.id}  {states[job.key].reason}".rstrip())
    echo(", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
