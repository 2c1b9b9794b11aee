from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.errors import NothingSelectedError
from bench.plan.jobs import Job, Plan
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project, Site

CAPS = """\
[profile]
name = "small"
[caps]
"""


def keys(plan: Plan) -> dict[str, str]:
    return {job.id: job.key for job in plan.jobs}


def changed(before: Plan, after: Plan) -> set[str]:
    """Ids of the jobs whose key differs, or that only one of the plans has."""
    one, other = keys(before), keys(after)
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def replaced(text: str, old: str, new: str, count: int = 1) -> str:
    assert old in text
    return text.replace(old, new, count)


def test_jobs_of_a_small_suite(project: Project, tiny: str) -> None:
    plan = project.plan(tiny)
    of_softmax = [job.id.removeprefix("softmax/digits/seed1/") for job in plan.jobs if job.model == "softmax"]
    assert of_softmax == [
        "train",
        "predict/test",
        "accuracy",
        "predict/validation",
        "calibration",
        "predict/test.gradient",
        "predict/patches",
        "predict/patches.gradient",
        "ood",
        "pgd-2@8/255",
        "pgd-2@16/255",
        "generation",
    ]
    assert [job.id for job in plan.jobs if job.model == ""] == ["judge/digits/train"]
    assert len({job.id for job in plan.jobs}) == len(plan.jobs)
    assert len(set(keys(plan).values())) == len(plan.jobs)


def test_inputs_come_before_what_reads_them(project: Project, tiny: str) -> None:
    seen: set[str] = set()
    for job in project.plan(tiny).jobs:
        assert seen.issuperset(job.inputs), job.id
        assert all(len(key) == 40 for key in (job.key, *job.inputs))
        json.dumps(job.as_json(), allow_nan=False)
        seen.add(job.key)


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
    readers = [other.evaluation for other in plan.jobs if job.key in other.inputs]
    assert readers == ["ood", "more"]


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


def test_missing_data_block_everything_with_the_reason(project: Project, tiny: str) -> None:
    plan = project.plan(replaced(tiny, '"digits"', '"cifar10"'))
    for job in plan.jobs:
        assert job.blocked is not None, job.id
        if job.id != "softmax/cifar10/seed1/generation":
            assert "cifar-10" in job.blocked
            assert str(project.bench.settings.data) in job.blocked


def test_a_missing_out_of_distribution_set_blocks_what_reads_it(project: Project, tiny: str) -> None:
    plan = project.plan(replaced(tiny, 'sets = ["patches"]', 'sets = ["patches", "svhn"]'))
    blocked = {
        job.id.removeprefix("gmmc-gen/digits/seed1/") for job in plan.jobs if job.blocked and job.model == "gmmc-gen"
    }
    assert blocked == {"predict/svhn", "predict/svhn.gradient", "ood"}
    ood = planned(plan, "gmmc-gen/digits/seed1/ood")
    assert "train_32x32.mat" in str(ood.blocked)


def test_an_absent_capability_blocks_and_needs_nothing(project: Project, tiny: str) -> None:
    plan = project.plan(
        replaced(tiny, '[[model]]\nfamily   = "gmmc-gen"', '[[model]]\nfamily   = "gmmc-dis"').replace(
            "[model.sampler]\nsteps = 3\n", ""
        )
    )
    for model, label in (("softmax", "softmax"), ("gmmc-dis", "GMMC (Dis)")):
        job = planned(plan, f"{model}/digits/seed1/generation")
        assert job.blocked == f"{label} does not generate"
    assert not any(job.id == "judge/digits/train" for job in plan.jobs)  # nobody to judge


def test_missing_foreign_weights_block_with_the_reason(project: Project, tiny: str) -> None:
    text = replaced(tiny, 'kind  = "generation"', 'kind  = "fid"')
    (job,) = [job for job in project.plan(text).jobs if job.id == "gmmc-gen/digits/seed1/fid"]
    assert str(job.blocked).startswith("no Inception weights")
    weights = project.bench.settings.weights
    weights.mkdir(parents=True)
    (weights / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"")
    (job,) = [job for job in project.plan(text).jobs if job.id == "gmmc-gen/digits/seed1/fid"]
    assert job.blocked is None


def test_one_judge_serves_all(project: Project, tiny: str) -> None:
    model = '[[model]]\nfamily = "jem"\nbackbone = "wrn-10-1"\nseeds = [1, 2]\n\n'
    plan = project.plan(replaced(tiny, "[[evaluation]]", f"{model}[[evaluation]]"))
    (judge,) = [job for job in plan.jobs if "judge" in job.id]
    users = [job.id for job in plan.jobs if judge.key in job.inputs]
    assert users == [
        "gmmc-gen/digits/seed1/generation",
        "jem/digits/seed1/generation",
        "jem/digits/seed2/generation",
    ]


def test_equal_work_under_two_names_has_one_key_and_both_names(project: Project, tiny: str) -> None:
    """Two evaluations, or two models, may be equal: each row and column still finds its jobs."""
    attack = '[[evaluation]]\nkind = "pgd"\nid = "pgd-9"\nsteps = 2\neps = ["8/255"]\nitems = 32\n\n'
    twin = '[[model]]\nfamily = "softmax"\nname = "twin"\nlabel = "twin"\nbackbone = "wrn-10-1"\nepochs = 2\n\n'
    plan = project.plan(replaced(tiny, "[[evaluation]]", f"{twin}{attack}[[evaluation]]"))
    twins = [plan.evaluations(model, "accuracy") for model in ("softmax", "twin")]
    assert [[job.model for job in jobs] for jobs in twins] == [["softmax"], ["twin"]]
    assert twins[0][0].key == twins[1][0].key
    (one,) = [job for job in plan.evaluations("softmax", "pgd-2") if job.argument == "8/255"]
    (other,) = plan.evaluations("twin", "pgd-9")
    assert one.key == other.key


def test_two_data_sets_with_one_name_stay_two(project: Project, tiny: str) -> None:
    for folder, value in (("a", 0.2), ("b", 0.7)):
        path = project.root / "suites" / folder / "noise.npz"
        path.parent.mkdir(parents=True)
        np.savez(path, x_test=np.full((6, 8, 8), value, np.float32), y_test=np.zeros(6, np.int64))
    plan = project.plan(replaced(tiny, 'sets = ["patches"]', 'sets = ["a/noise.npz", "b/noise.npz"]'))
    (ood,) = plan.evaluations("softmax", "ood")
    predicted = [task.ood.dataset for task in ood.task.needs.values() if task.ood is not None]
    assert {Path(path).parent.name for path in predicted} == {"a", "b"}
    assert len(set(ood.inputs)) == 7  # train, and two outputs on the test set and on each of the two others


class TestOtherModels:
    """Evaluations that read other models of the suite beside the one that they measure."""

    TRANSFER = '[[evaluation]]\nkind = "transfer"\nsource = "softmax"\neps = ["8/255", "16/255"]\nitems = 10\n\n'
    ADAPTIVE = (
        '[[evaluation]]\nkind = "adaptive"\ntransfer = ["softmax", "gmmc-gen"]\neps = ["8/255"]\nsquare = false\n\n'
    )

    @pytest.fixture
    def text(self, tiny: str) -> str:
        return replaced(tiny, "[[evaluation]]", f"{self.TRANSFER}{self.ADAPTIVE}[[evaluation]]")

    def job(self, plan: Plan, name: str) -> Job:
        return planned(plan, name)

    def test_the_training_of_the_source_is_an_input(self, project: Project, text: str) -> None:
        plan = project.plan(text)
        source, own = (self.job(plan, f"{model}/digits/seed1/train") for model in ("softmax", "gmmc-gen"))
        for eps in ("8/255", "16/255"):
            job = self.job(plan, f"gmmc-gen/digits/seed1/transfer@{eps}")
            assert job.inputs == (own.key, source.key)
            assert job.task.others == {"softmax": source.task}
            assert (job.task.train, job.task.judge, job.blocked) == (own.task, None, None)

    def test_a_source_is_not_applicable_to_itself(self, project: Project, text: str) -> None:
        plan = project.plan(text)
        job = self.job(plan, "softmax/digits/seed1/transfer@8/255")
        assert job.blocked == "softmax is the source of the adversarial images"
        assert job.inputs == (job.task.train.key,)
        assert job.task.others == {}

    def test_a_worst_case_leaves_the_model_itself_out(self, project: Project, text: str) -> None:
        plan = project.plan(text)
        train = {model: self.job(plan, f"{model}/digits/seed1/train").key for model in ("softmax", "gmmc-gen")}
        for model, other in (("softmax", "gmmc-gen"), ("gmmc-gen", "softmax")):
            job = self.job(plan, f"{model}/digits/seed1/adaptive@8/255")
            assert [(name, task.key) for name, task in job.task.others.items()] == [(other, train[other])]
            assert job.inputs == (train[model], train[other])
            assert job.blocked is None

    def test_a_source_may_stand_below_those_that_read_it(self, project: Project, text: str) -> None:
        plan = project.plan(replaced(text, 'source = "softmax"', 'source = "gmmc-gen"'))
        seen: set[str] = set()
        for job in plan.jobs:
            assert seen.issuperset(job.inputs), job.id
            seen.add(job.key)
        assert len([job for job in plan.jobs if job.id == "gmmc-gen/digits/seed1/train"]) == 1

    def test_another_source_is_another_attack(self, project: Project, text: str) -> None:
        """Its hyper-parameters are in the key of what reads it, and in nothing else of the other models."""
        before = project.plan(text)
        after = project.plan(replaced(text, "epochs   = 2", "epochs   = 3"))  # the first model, softmax
        of_softmax = {job.id for job in before.jobs if job.model == "softmax"}
        attacks = {f"gmmc-gen/digits/seed1/{what}" for what in ("transfer@8/255", "transfer@16/255", "adaptive@8/255")}
        assert changed(before, after) == of_softmax | attacks

    def test_what_is_selected_brings_the_source(self, project: Project, text: str) -> None:
        chosen = project.plan(text).select(["gmmc-gen/*/transfer@8/255"])
        assert [job.id for job in chosen.jobs] == [
            "softmax/digits/seed1/train",
            "gmmc-gen/digits/seed1/train",
            "gmmc-gen/digits/seed1/transfer@8/255",
        ]
        downstream = {job.id for job in project.plan(text).downstream(["softmax/*/train"])}
        assert "gmmc-gen/digits/seed1/transfer@8/255" in downstream

    def test_seed_meets_seed_or_the_sources_first(self, project: Project, text: str) -> None:
        one = 'family   = "softmax"\nbackbone = "wrn-10-1"'
        other = 'family   = "gmmc-gen"\nbackbone = "wrn-10-1"'
        text = replaced(text, one, f"{one}\nseeds = [2, 1]")
        plan = project.plan(replaced(text, other, f"{other}\nseeds = [1, 2, 3]"))
        source = {seed: self.job(plan, f"softmax/digits/seed{seed}/train").key for seed in (1, 2)}
        for seed, met in ((1, 1), (2, 2), (3, 2)):
            job = self.job(plan, f"gmmc-gen/digits/seed{seed}/transfer@8/255")
            assert job.task.others["softmax"].key == source[met]

    def test_missing_weights_of_the_source_block_what_reads_it(self, project: Project, text: str) -> None:
        text = replaced(text, "epochs   = 2", 'weights = "theirs"')
        plan = project.plan(text)
        blocked = self.job(plan, "softmax/digits/seed1/train").blocked
        assert blocked is not None
        assert "theirs" in blocked
        assert self.job(plan, "gmmc-gen/digits/seed1/transfer@8/255").blocked == blocked
        assert self.job(plan, "gmmc-gen/digits/seed1/pgd-2@8/255").blocked is None

    def test_cost(self, project: Project, text: str) -> None:
        """A forward and a backward a step, the surrogate's clean pass and the judge's two; adaptive adds its own."""
        plan = project.plan(text)
        assert self.job(plan, "gmmc-gen/digits/seed1/transfer@8/255").passes == 10 * (2 * 100 + 3)
        with_transfer = self.job(plan, "gmmc-gen/digits/seed1/adaptive@8/255").passes
        none = project.plan(replaced(text, 'transfer = ["softmax", "gmmc-gen"]\n', ""))
        without = self.job(none, "gmmc-gen/digits/seed1/adaptive@8/255").passes
        assert with_transfer - without == 397 * 2 * 2 * 100


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


def test_cost_counts_passes(project: Project, tiny: str) -> None:
    plan = project.plan(tiny)

    def passes(name: str) -> float:
        job: Job | None = planned(plan, name)
        assert job is not None
        return job.passes

    # 18 whole batches of 64; the 48 items left over are in no step of that epoch.
    assert passes("softmax/digits/seed1/train") == 3 * 1_152 * 2
    assert passes("softmax/digits/seed1/predict/test") == 397
    assert passes("softmax/digits/seed1/predict/test.gradient") == 2 * 397
    assert passes("softmax/digits/seed1/accuracy") == 0
    # Two losses, each of two steps and the judge; ten random points.
    assert passes("softmax/digits/seed1/pgd-2@8/255") == 32 * (2 * (2 * 2 + 2) + 10)
    # gmmc-gen: two updates' worth (data and samples) and three sampler steps of a forward and an input backward
    assert passes("gmmc-gen/digits/seed1/train") == (2 * 3 + 3 * 2) * 1_152 * 2
