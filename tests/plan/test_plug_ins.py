"""The code of an attack or a score of others is in the key of the evaluation that runs it."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from bench.attacks.named import ATTACKS
from bench.errors import BenchError
from bench.execute.kinds import hold_code
from bench.scores.named import SCORES

if TYPE_CHECKING:
    from bench.plan.jobs import Job
    from tests.conftest import Project, Site

SUITE = """\
[suite]
name = "own"
[data]
dataset = "digits"
[[model]]
family   = "softmax"
backbone = "wrn-10-1"
[[evaluation]]
kind   = "attack"
id     = "mine"
attack = "%s"
eps    = ["8/255"]
[[evaluation]]
kind = "accuracy"
"""
MODULE = """\
from typing import ClassVar
from bench.attacks.spec import Attack
from mine_helper_t import SIZE

class Mine(Attack):
    name: ClassVar[str] = "mine-t"
    summary: ClassVar[str] = "Does nothing."
    source: ClassVar[str] = "this test"
    version: ClassVar[int | None] = %s

    def definition(self, threat, targets=None):
        return "mine"

    def passes(self):
        return 1.0

    def attack(self, problem):
        raise NotImplementedError

MINE = Mine()
"""


def planned(project: Project, attack: str) -> dict[str, Job]:
    return {job.evaluation: job for job in project.plan(SUITE % attack).jobs if job.kind == "evaluate"}


def written(site: Site, version: str, helper: str) -> None:
    site.module("mine_attack_t", MODULE % version)
    site.module("mine_helper_t", helper)
    for name in ("mine_attack_t", "mine_helper_t"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    ATTACKS.reset()


@pytest.fixture
def mine(site: Site) -> Site:
    written(site, "None", "SIZE = 1")
    site.distribution("mine-attack", "bench.attacks", {"mine-t": "mine_attack_t:MINE"})
    return site


def test_an_edit_of_what_it_imports_is_another_attack(project: Project, mine: Site) -> None:
    before = planned(project, "mine-t")
    written(mine, "None", "SIZE = 1  # a remark")
    assert planned(project, "mine-t")["mine"].key == before["mine"].key
    written(mine, "None", "SIZE = 2")
    after = planned(project, "mine-t")
    assert after["mine"].key != before["mine"].key
    assert after["accuracy"].key == before["accuracy"].key
    hold_code(after["mine"].task)
    with pytest.raises(BenchError, match="the code of attack 'mine-t' has changed since the suite was read"):
        hold_code(before["mine"].task)


def test_a_version_speaks_for_its_code(project: Project, mine: Site) -> None:
    written(mine, "3", "SIZE = 1")
    before = planned(project, "mine-t")["mine"].key
    written(mine, "3", "SIZE = 2")
    assert planned(project, "mine-t")["mine"].key == before
    written(mine, "4", "SIZE = 2")
    assert planned(project, "mine-t")["mine"].key != before


def test_ours_belong_to_the_version_of_the_evaluation(project: Project) -> None:
    assert planned(project, "pgd")["mine"].task.code.keys() == {"family", "backbone", "evaluation"}


SCORE = """\
from typing import ClassVar
from bench.scores.spec import Score

class %(kind)s(Score):
    name: ClassVar[str] = "%(name)s"
    label: ClassVar[str] = "mine"
    summary: ClassVar[str] = "Does nothing."
    source: ClassVar[str] = "this test"
    reads: ClassVar[tuple[str, ...]] = ("logits",)

    @property
    def definition(self):
        return "mine"

    def score(self, outputs, fit):
        return outputs["logits"][:, 0] * %(factor)d

MINE = %(kind)s()
"""
OOD = (
    SUITE[: SUITE.index("[[evaluation]]")]
    + """\
[[evaluation]]
kind   = "ood"
sets   = ["patches"]
scores = ["log-density", "first-t", "second-t"]
[[evaluation]]
kind = "accuracy"
"""
)


def test_each_of_several_scores_is_in_the_key(project: Project, site: Site) -> None:
    def write(name: str, factor: int) -> None:
        site.module(f"{name}_score_t", SCORE % {"kind": name.title(), "name": f"{name}-t", "factor": factor})
        sys.modules.pop(f"{name}_score_t", None)
        importlib.invalidate_caches()
        SCORES.reset()

    def plan() -> dict[str, Job]:
        return {job.evaluation: job for job in project.plan(OOD).jobs if job.kind == "evaluate"}

    for name in ("first", "second"):
        write(name, 1)
        site.distribution(f"{name}-score", "bench.scores", {f"{name}-t": f"{name}_score_t:MINE"})
    before = plan()
    assert {"score first-t", "score second-t"} <= before["ood"].task.code.keys()
    for name in ("first", "second"):
        write(name, 2)
        after = plan()
        assert after["ood"].key != before["ood"].key
        assert after["accuracy"].key == before["accuracy"].key
        with pytest.raises(BenchError, match=f"the code of score '{name}-t' has changed since the suite was read"):
            hold_code(before["ood"].task)
        write(name, 1)
