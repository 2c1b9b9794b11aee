"""The command ``bench``. Commands parse, call the api and print; they hold no logic."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

import click

from bench.cli.compare import compare, gate
from bench.cli.data import data
from bench.cli.inspect import clean, describe, doctor, list_, schema
from bench.cli.models import export, import_, sample, train
from bench.cli.plan import plan
from bench.cli.plugins import check_plugin, new
from bench.cli.results import plot, publish, report, show, table, verify
from bench.cli.run import check, run, status
from bench.cli.say import echo, prepare
from bench.cli.store import store
from bench.errors import BenchError, PrerequisiteError, RequestError

__all__ = ["cli", "main"]


INTERNAL = 70
"""Exit code of an unexpected error: a defect of bench or of a plug-in."""


class _Group(click.Group):
    """Shows every error as a message and sets its exit code; shows tracebacks only with --debug."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            echo("bench: interrupted", err=True)
            ctx.exit(130)
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            _show(error)
            ctx.exit(_exit_code(error))
        return result


def _exit_code(error: Exception) -> int:
    if isinstance(error, BenchError):
        return error.exit_code
    if isinstance(error, OSError | MemoryError):
        return PrerequisiteError.exit_code
    return RequestError.exit_code if isinstance(error, RecursionError) else INTERNAL


def _show(error: Exception) -> None:
    """Write one message to standard error, even if it cannot show every character or is closed."""
    if isinstance(error, BenchError):
        text = str(error)
    elif isinstance(error, BrokenPipeError):
        # The reader of the output has closed the pipe; the interpreter must not write the rest to it when it exits.
        sys.stdout = None
        return
    elif isinstance(error, OSError):
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    elif isinstance(error, MemoryError):
        text = "out of memory"
    elif isinstance(error, RecursionError):
        text = "something that was read is nested too deeply"
    else:
        text = (
            f"unexpected {type(error).__name__}: {error}\n"
            "This is a defect of bench or of a plug-in; bench --debug … shows where"
        )
    with contextlib.suppress(OSError):
        echo(f"bench: {text}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show tracebacks instead of messages.")
@click.version_option(package_name="gmmc-bench", prog_name="bench")
def cli(debug: bool) -> None:
    """Compare softmax, JEM and GMMC classifiers on equal terms.

    A suite is a TOML file: data, models, evaluations, tables. `bench run SUITE` trains and evaluates what has no
    result yet, may be interrupted at any time and continued by the same command, and prints the tables.

    \b
    Start here:
      bench run digits            the whole comparison on small real data, minutes on two cores
      bench list suites           what else comes with bench
      bench describe gmmc-gen     a family's hyper-parameters, with what paper and code say
      bench table --format latex  the tables of the suite last run

    \b
    Exit codes: 0 every job has a result, 1 some failed, 2 the request was wrong, 3 nothing selected,
    4 a rule of `bench gate` is broken, 5 something is missing that everything needs, or the machine refuses
    (a full disk, a folder that is a file), 70 a defect of bench or of a plug-in, 130 interrupted.
    """


for command in (
    *(run, plan, check, status),
    *(table, plot, report, publish, compare, gate, show, verify),
    *(train, sample, import_, export),
    *(list_, describe, schema, data, store, clean, doctor),
    *(new, check_plugin),
):
    cli.add_command(command)


class _Interrupted(KeyboardInterrupt):
    """Raised by signals in place of KeyboardInterrupt. After a KeyboardInterrupt has passed through code that is
    compiled from text, as that of dataclasses is on import, Python ends the process by SIGINT, whatever its exit code.
    """


def _interrupt(*_: object) -> None:
    raise _Interrupted


def main() -> None:
    """Entry point of the console script."""
    if sys.stdout is None:
        if sys.stderr is not None:
            sys.stderr.write("bench: the standard output is closed; send it to /dev/null instead\n")
        sys.exit(PrerequisiteError.exit_code)
    # Nearly all objects live to the end of a command: searching for cycles after every 700 new ones finds nothing, and
    # takes a tenth of the time of a large table.
    gc.set_threshold(100_000, 50, 100)
    prepare()
    try:
        os.getcwd()  # noqa: PTH109 - raises if the folder is gone; the value is not used
    except OSError as error:
        echo(f"bench: the working folder cannot be used: {error.strerror}; change to another one", err=True)
        sys.exit(PrerequisiteError.exit_code)
    # A batch system ends a run with SIGTERM. It is handled like Ctrl-C, so that training saves a checkpoint.
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a command behind nohup or in the background
            signal.signal(number, _interrupt)
    sys.exit(cli.main(standalone_mode=True, prog_name="bench"))
