"""The code of an attack, a score or a data set of others is in the keys of what reads it."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from bench.attacks.named import ATTACKS
from bench.data.job import _DESCRIBED
from bench.data.registry import DATASETS
from bench.errors import BenchError, SuiteError
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


DATASET = """\
import numpy as np
from bench.data.spec import DatasetSpec, Split, always_found
from own_helper_t import LOW

def load(root, *, like, image_shape, seed):
    images = np.random.default_rng(0).integers(LOW, 256, size=(60, 1, 8, 8)).astype(np.uint8)
    whole = Split.numbered(images, np.arange(60) %% 2)
    return {"train": whole.take(np.arange(40)), "test": Split.numbered(images[40:], np.arange(20) %% 2)}

OWN = DatasetSpec(
    name="%(name)s", summary="Noise.", source="this test", license="none", num_classes=2, image_shape=(1, 8, 8),
    implementation="own_sets_t:load", find=always_found, fingerprint="made", sizes={"train": 40, "test": 20},
    validation=8, version=%(version)s,
)
"""
ON_OWN = """\
[suite]
name = "own"
[data]
dataset = "own_sets_t:OWN"
[[model]]
family     = "softmax"
backbone   = "wrn-10-1"
epochs     = 1
batch_size = 8
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "ood"
sets = ["digits"]
"""
AGAINST_OWN = ON_OWN.replace('dataset = "own_sets_t:OWN"', 'dataset = "digits"').replace(
    '"digits"]', '"own_sets_t:OWN"]'
)


def own_sets(site: Site, helper: str, version: str = "None", name: str = "own") -> None:
    site.module("own_sets_t", DATASET % {"name": name, "version": version})
    site.module("own_helper_t", helper)
    for module in ("own_sets_t", "own_helper_t"):
        sys.modules.pop(module, None)
    importlib.invalidate_caches()
    DATASETS.reset()
    _DESCRIBED.clear()


@pytest.mark.parametrize("suite", [ON_OWN, AGAINST_OWN], ids=["inside", "outside"])
def test_an_edit_of_what_a_loader_imports_is_another_data_set(project: Project, site: Site, suite: str) -> None:
    own_sets(site, "LOW = 0")
    before = project.plan(suite).jobs
    own_sets(site, "LOW = 0  # a remark")
    assert [job.key for job in project.plan(suite).jobs] == [job.key for job in before]
    own_sets(site, "LOW = 9")
    after = project.plan(suite).jobs
    changed = {job.id for old, job in zip(before, after, strict=True) if old.key != job.key}
    inside = {job.id for job in after if suite == ON_OWN or "predict/own" in job.id or job.evaluation == "ood"}
    assert changed == inside
    reader = {job.id for job in after if job.kind == "train" or job.id.endswith("predict/own")}
    for old, job in zip(before, after, strict=True):
        hold_code(job.task)
        if job.id in reader & changed:
            with pytest.raises(BenchError, match="the code of data set own_sets_t:OWN has changed since the suite was"):
                hold_code(old.task)


def test_a_version_speaks_for_a_loader(project: Project, site: Site) -> None:
    own_sets(site, "LOW = 0", version="1")
    before = [job.key for job in project.plan(ON_OWN).jobs]
    own_sets(site, "LOW = 9", version="1")
    assert [job.key for job in project.plan(ON_OWN).jobs] == before
    own_sets(site, "LOW = 9", version="2")
    assert not set(before) & {job.key for job in project.plan(ON_OWN).jobs}


@pytest.mark.parametrize("suite", [ON_OWN, AGAINST_OWN], ids=["inside", "outside"])
def test_dependencies_that_no_key_covers_are_told(project: Project, site: Site, suite: str) -> None:
    own_sets(site, "LOW = 0\ndef late():\n    return open('low.txt')")
    assert any("data set 'own'" in text and "own_helper_t" in text for text in project.plan(suite).suite.warnings)


def test_a_data_set_of_others_is_trained_on_and_measured(project: Project, site: Site) -> None:
    own_sets(site, "LOW = 0")
    for name, suite in (("inside", ON_OWN), ("outside", AGAINST_OWN.replace("batch_size = 8", "batch_size = 400"))):
        path = project.suite(suite.replace('"own"', f'"{name}"', 1), name)
        run = project.bench.run(str(path), in_process=True)
        assert run.exit_code() == 0
        measured = {job.evaluation for job in run.plan.jobs if job.kind == "evaluate"}
        assert measured == {"accuracy", "ood"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_sets_t:OWM", "cannot be imported: module 'own_sets_t' has no attribute 'OWM'"),
        ("own_sets_t:load", "is a function, expected a DatasetSpec"),
        ("nowhere_t:OWN", "No module named 'nowhere_t'; install its package, or put its folder on the path"),
    ],
)
def test_a_wrong_name_is_told_with_its_place(project: Project, site: Site, name: str, message: str) -> None:
    own_sets(site, "LOW = 0")
    with pytest.raises(SuiteError, match=message) as caught:
        project.plan(ON_OWN.replace("own_sets_t:OWN", name))
    assert "tiny.toml:4" in str(caught.value)


def test_a_data_set_of_others_may_not_pass_for_a_registered_one(project: Project, site: Site) -> None:
    own_sets(site, "LOW = 0", name="cifar10")
    with pytest.raises(SuiteError, match="own_sets_t:OWN calls itself 'cifar10', which is another data set"):
        project.plan(ON_OWN)
