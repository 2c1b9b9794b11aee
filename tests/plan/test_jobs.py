"""Selections of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import NothingSelectedError
from tests.plan.conftest import keys

if TYPE_CHECKING:
    from tests.conftest import Project


class TestSelect:
    def test_closure(self, project: Project, tiny: str) -> None:
        chosen = project.plan(tiny).select(["softmax/*/accuracy"])
        assert [job.id for job in chosen.jobs] == [
            f"softmax/digits/seed1/{what}" for what in ("train", "predict/test", "accuracy")
        ]
        judged = {job.id for job in project.plan(tiny).select(["gmmc-gen/*/generation"]).jobs}
        assert "judge/digits/train" in judged

    def test_several_patterns_and_none(self, project: Project, tiny: str) -> None:
        plan = project.plan(tiny)
        assert plan.select([]) is plan
        either = {job.id for job in plan.select(["softmax/*/accuracy", "gmmc-gen/*/train"]).jobs}
        assert "gmmc-gen/digits/seed1/train" in either
        assert "softmax/digits/seed1/accuracy" in either

    def test_nothing(self, project: Project, tiny: str) -> None:
        with pytest.raises(NothingSelectedError, match="no job matches softmax/digits/seed1/acuracy; did you mean"):
            project.plan(tiny).select(["softmax/digits/seed1/acuracy"])
        assert NothingSelectedError.exit_code == 3

    def test_keys_do_not_depend_on_what_is_selected(self, project: Project, tiny: str) -> None:
        plan = project.plan(tiny)
        assert keys(plan.select(["*/accuracy"])).items() <= keys(plan).items()


def test_downstream_is_everything_that_reads_it(project: Project, tiny: str) -> None:
    plan = project.plan(tiny)

    def ids(*patterns: str) -> set[str]:
        return {job.id for job in plan.downstream(patterns)}

    assert ids("softmax/*/train") == {job.id for job in plan.jobs if job.model == "softmax"}
    assert ids("*/accuracy") == {"softmax/digits/seed1/accuracy", "gmmc-gen/digits/seed1/accuracy"}
    assert ids("softmax/*/predict/validation") == {
        f"softmax/digits/seed1/{what}" for what in ("predict/validation", "calibration")
    }
    assert ids("judge/*") == {"judge/digits/train", "gmmc-gen/digits/seed1/generation"}
    assert ids("nothing*") == set()
