"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from bench.cli.say import reserve

__all__ = ["as_json", "only", "profile", "suite_argument"]

F = TypeVar("F", bound=Callable[..., Any])

profile = click.option(
    "--profile", metavar="NAME", help="Apply a profile (smoke, quick, or a path) that shrinks the suite."
)
only = click.option(
    "--only",
    metavar="GLOB",
    multiple=True,
    help="Keep only jobs whose id matches, with what they need; may be repeated. Example: 'gmmc-*/*/pgd*'.",
)
as_json = click.option("--json", "as_json", is_flag=True, callback=reserve, help="Print JSON for scripts.")


def suite_argument(required: bool = False) -> Callable[[F], F]:
    """SUITE: a path, or a bare name from suites/."""
    return click.argument("suite", metavar="SUITE" if required else "[SUITE]", required=required)
