"""A suite with one model and one evaluation, and the mistakes of its variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import SuiteError
from bench.suite.schema import Suite

if TYPE_CHECKING:
    from tests.conftest import Project

BASE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
family = "softmax"
backbone = "wrn-10-1"
[[evaluation]]
kind = "accuracy"
"""


def load(project: Project, text: str, profile: str | None = None) -> Suite:
    path = project.suite(text)
    return project.bench.suite(str(path), str(project.profile(profile)) if profile else None)


def messages(project: Project, text: str) -> list[tuple[int | None, str, str, str]]:
    """Line, key, message and hint of everything that is wrong with a suite."""
    with pytest.raises(SuiteError) as error:
        load(project, text)
    return [(problem.line, problem.key, problem.message, problem.hint) for problem in error.value.problems]
