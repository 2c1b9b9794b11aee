"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from bench.cli.say import reserve

__all__ = ["as_json", "device", "kind_of_device", "last_suite", "only", "profile", "suite_argument", "workers"]

F = TypeVar("F", bound=Callable[..., Any])

profile = click.option(
    "--profile", metavar="NAME", help="Apply a profile (smoke, quick, or a path) that shrinks the suite."
)
last_suite = click.option("--suite", metavar="SUITE", help="Default: the suite last run.")
only = click.option(
    "--only",
    metavar="GLOB",
    multiple=True,
    help="Keep only jobs whose id matches, with what they need; may be repeated. Example: 'gmmc-*/*/pgd*'.",
)
kind_of_device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
workers = click.option("--workers", type=int, metavar="N", help="Jobs at once. Default: one per GPU, or one per core.")
device = click.option("--device", default="cpu", show_default=True, help="A torch device, such as cpu or cuda:0.")
as_json = click.option("--json", "as_json", is_flag=True, callback=reserve, help="Print JSON for scripts.")


def suite_argument(required: bool = False) -> Callable[[F], F]:
    """SUITE: a path, or a bare name from suites/."""
    return click.argument("suite", metavar="SUITE" if required else "[SUITE]", required=required)
