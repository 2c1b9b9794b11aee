"""The command ``bench``. Commands parse, call the api and print; they hold no logic."""

from __future__ import annotations

import signal
import sys

import click

from bench.cli import inspect, maintain, models, run, table, verify
from bench.cli.say import echo, prepare
from bench.errors import BenchError

__all__ = ["cli", "main"]


class _Group(click.Group):
    """Shows errors that are meant for people as a message with the exit code of their class."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BenchError as error:
            if ctx.params.get("debug"):
                raise
            echo(f"bench: {error}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            echo("bench: interrupted", err=True)
            ctx.exit(130)


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
    5 something is missing that everything needs, 130 interrupted.
    """


run.register(cli)
table.register(cli)
inspect.register(cli)
models.register(cli)
verify.register(cli)
maintain.register(cli)


def main() -> None:
    """Entry point of the console script."""
    prepare()
    # A batch system ends a run with SIGTERM: the same as Ctrl-C, so that training saves where it stands.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(cli.main(standalone_mode=True, prog_name="bench"))
