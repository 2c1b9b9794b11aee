"""The command line in the process of the tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from bench.cli.main import cli
from bench.plan.jobs import Plan

if TYPE_CHECKING:
    from tests.conftest import Project, Results


def bench(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli, list(arguments), input=answer, catch_exceptions=False)


def ok(*arguments: str) -> str:
    result = bench(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def loaded(*arguments: str) -> Any:
    return json.loads(ok(*arguments))


def finish_all(project: Project, results: Results, text: str) -> Plan:
    """A store in which every job of a suite has a result."""
    plan = project.plan(text)
    for job in plan.jobs:
        if job.blocked is None:
            results.finish(job, **({"numbers": [], "evaluation_kind": "x"} if job.kind == "evaluate" else {}))
    return plan
