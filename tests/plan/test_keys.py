"""What is in the keys of a plan, and what is not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.plan.jobs import Plan
from tests.plan.conftest import changed, keys, replaced

if TYPE_CHECKING:
    from tests.conftest import Project, Site

CAPS = """\
[profile]
name = "small"
[caps]
"""


def test_keys_are_the_same_in_every_process(project: Project, tiny: str) -> None:
    expected = keys(project.plan(tiny))
    code = "import json, bench; print(json.dumps({j.id: j.key for j in bench.plan('tiny').jobs}))"
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == expected


def rearranged(text: str) -> str:
    """The same suite with the keys of every table, and the evaluations, in reverse order."""
    tables = re.findall(r"^\[.*\n(?:[^\[\n].*\n)*", text, re.MULTILINE)
    reversed_keys = [head + "\n" + "\n".join(reversed(body)) + "\n" for head, *body in map(str.splitlines, tables)]
    others = [table for table in reversed_keys if not table.startswith("[[evaluation]]")]
    evaluations = [table for table in reversed_keys if table.startswith("[[evaluation]]")]
    return "".join(others + evaluations[::-1])


def test_keys_do_not_depend_on_the_order_of_keys_or_entries(project: Project, tiny: str) -> None:
    other = rearranged(tiny)
    parsed, reordered = tomllib.loads(tiny), tomllib.loads(other)
    assert reordered["evaluation"] == parsed["evaluation"][::-1]
    assert list(reordered["model"][0]) == list(parsed["model"][0])[::-1]
    assert changed(project.plan(tiny), project.plan(other)) == set()


def test_keys_do_not_depend_on_where_the_project_lies(project: Project, tiny: str, tmp_path: Path) -> None:
    before = keys(project.plan(tiny))
    elsewhere = project.write("deep/below/other-name.toml", tiny)
    assert keys(project.bench.plan(elsewhere)) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('title = "Two classifiers on digits"', 'title = "Another"'),
        ('name  = "tiny"', 'name  = "other"'),
        ('family   = "softmax"', 'family   = "softmax"\nlabel = "Baseline"'),
        ('title   = "Accuracy"', 'title   = "Another"\nnote = "n"'),
        ('columns = ["accuracy", ', "columns = ["),
        ('[[evaluation]]\nkind = "accuracy"', '# a comment\n[[evaluation]]\nkind = "accuracy"\nseed = 0'),
        ("epochs   = 2", "epochs   = 2\nlr = 1e-4"),  # what is the default anyway
        ('eps   = ["8/255"', 'eps   = [" 8/255"'),  # the same budget
    ],
)
def test_words_and_defaults_change_no_key(project: Project, tiny: str, old: str, new: str) -> None:
    assert changed(project.plan(tiny), project.plan(replaced(tiny, old, new))) == set()


def test_a_hyper_parameter_changes_the_keys_of_its_model_alone(project: Project, tiny: str) -> None:
    before = project.plan(tiny)
    after = project.plan(replaced(tiny, "steps = 3", "steps = 4"))
    assert changed(before, after) == {job.id for job in before.jobs if job.model == "gmmc-gen"}


@pytest.mark.parametrize(
    "change",
    [
        ('backbone = "wrn-10-1"', 'backbone = "wrn-10-2"'),
        ("epochs   = 2", "epochs   = 3"),
        ("epochs   = 2", "epochs   = 2\nbatch_size = 32"),
    ],
)
def test_every_part_of_a_model_is_in_its_keys(project: Project, tiny: str, change: tuple[str, str]) -> None:
    before, after = project.plan(tiny), project.plan(replaced(tiny, *change))
    assert changed(before, after) == {job.id for job in before.jobs if job.model == "softmax"}


@pytest.mark.parametrize("change", ["seed = 1", "validation = 150"])
def test_the_split_is_in_every_key(project: Project, tiny: str, change: str) -> None:
    before, after = (
        project.plan(tiny),
        project.plan(replaced(tiny, 'dataset = "digits"', f'dataset = "digits"\n{change}')),
    )
    assert changed(before, after) == {job.id for job in before.jobs}


def test_another_training_seed_adds_jobs_and_changes_none(project: Project, tiny: str) -> None:
    before = project.plan(tiny)
    after = project.plan(replaced(tiny, "epochs   = 2", "epochs   = 2\nseeds = [1, 2]"))
    added = changed(before, after)
    assert added == {job.id.replace("seed1", "seed2") for job in before.jobs if job.model == "softmax"}
    assert len({job.key for job in after.jobs if job.kind == "train"}) == 4  # two seeds, gmmc-gen and the judge


def test_bins_change_the_calibration_jobs_alone(project: Project, tiny: str) -> None:
    before = project.plan(tiny)
    after = project.plan(replaced(tiny, 'kind = "calibration"', 'kind = "calibration"\nbins = 15'))
    assert changed(before, after) == {f"{m}/digits/seed1/calibration" for m in ("softmax", "gmmc-gen")}


def test_a_budget_is_a_job_of_its_own(project: Project, tiny: str) -> None:
    before = project.plan(tiny)
    added = project.plan(replaced(tiny, '"16/255"]', '"16/255", "4/255"]'))
    assert changed(before, added) == {f"{m}/digits/seed1/pgd-2@4/255" for m in ("softmax", "gmmc-gen")}
    other = project.plan(replaced(tiny, '"16/255"]', '"4/255"]'))
    assert changed(before, other) == {
        f"{m}/digits/seed1/pgd-2@{eps}" for m in ("softmax", "gmmc-gen") for eps in ("4/255", "16/255")
    }


def test_a_parameter_of_the_attack_changes_its_jobs_alone(project: Project, tiny: str) -> None:
    before = project.plan(tiny)
    after = project.plan(replaced(tiny, "items = 32", "items = 33"))
    assert {name.split("/", 3)[3] for name in changed(before, after)} == {"pgd-2@8/255", "pgd-2@16/255"}


def test_an_out_of_distribution_set_adds_its_predictions(project: Project, tiny: str) -> None:
    before = project.plan(tiny)
    after = project.plan(replaced(tiny, 'sets = ["patches"]', 'sets = ["patches", "uniform"]'))
    expected = {"predict/uniform", "predict/uniform.gradient", "ood"}
    assert {name.split("/", 3)[3] for name in changed(before, after)} == expected


def test_predictions_of_training_items_are_one_job_that_evaluations_share(project: Project, tiny: str) -> None:
    fitted = replaced(tiny, 'sets = ["patches"]', 'sets = ["patches"]\nscores = ["knn", "mahalanobis"]')
    twice = fitted + '\n[[evaluation]]\nkind = "ood"\nid = "more"\nsets = ["uniform"]\nscores = ["vim"]\n'
    plan = project.plan(twice)
    (job,) = [job for job in plan.jobs if job.id == "softmax/digits/seed1/predict/train"]
    assert job.passes == 1200
    assert {name.split("/", 3)[3] for name in changed(project.plan(tiny), project.plan(fitted))} == {
        *("predict/train", "ood", "predict/test.gradient", "predict/patches.gradient"),
    }
    assert [other.evaluation for other in plan.jobs if job.key in other.inputs] == ["ood", "more"]


class TestVersions:
    """A family of somebody else: its own source is in the key unless it declares a version."""

    SPEC = """\
        from bench.spec import FamilySpec, TrainingConfig
        SPEC = FamilySpec(
            name="mine", label="Mine", summary="s", source="s", config=TrainingConfig,
            implementation="stranger_model:Mine", version={version},
        )
        """

    def plan(self, project: Project, site: Site, tiny: str, version: object, model: str) -> Plan:
        site.module("stranger", self.SPEC.format(version=version))
        site.module("stranger_model", model)
        sys.modules.pop("stranger", None)
        return project.plan(replaced(tiny, '"softmax"', '"stranger:SPEC"'))

    def test_an_edit_of_an_unversioned_family(self, project: Project, site: Site, tiny: str) -> None:
        before = self.plan(project, site, tiny, None, "class Mine:\n    x = 1\n")
        told = self.plan(project, site, tiny, None, '# more\nclass Mine:\n    """Words."""\n\n    x = 1\n')
        edited = self.plan(project, site, tiny, None, "class Mine:\n    x = 2\n")
        assert changed(before, told) == set()
        assert changed(before, edited) == {job.id for job in before.jobs if job.model == "mine"} != set()

    def test_a_declared_version(self, project: Project, site: Site, tiny: str) -> None:
        before = self.plan(project, site, tiny, 1, "class Mine:\n    x = 1\n")
        edited = self.plan(project, site, tiny, 1, "class Mine:\n    x = 2\n")
        raised = self.plan(project, site, tiny, 2, "class Mine:\n    x = 2\n")
        assert changed(before, edited) == set()
        assert changed(before, raised) == {job.id for job in before.jobs if job.model == "mine"}


def test_bounds_larger_than_the_data_change_no_key(project: Project, tiny: str) -> None:
    plain = project.plan(tiny)
    capped = project.plan(tiny, CAPS + "train = 1_200\nvalidation = 200\nitems = 397\nseeds = 9\n")
    assert changed(plain, capped) == set()


def test_bounds_that_bind_change_what_they_bind(project: Project, tiny: str) -> None:
    plain = project.plan(tiny)
    assert changed(plain, project.plan(tiny, CAPS + "train = 1_199\n")) == {job.id for job in plain.jobs}
    fewer = changed(plain, project.plan(tiny, CAPS + "items = 16\n"))
    trained = {job.id for job in plain.jobs if job.kind == "train"}
    assert not fewer & trained
    validation = {job.id for job in plain.jobs if job.id.endswith("predict/validation")}
    assert fewer == {job.id for job in plain.jobs} - trained - validation
