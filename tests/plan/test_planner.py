"""The jobs of a plan: inputs, costs, and what blocks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.plan.jobs import Job, Plan
from bench.plan.tasks import EvaluateTask
from tests.conftest import planned
from tests.plan.conftest import changed, keys, replaced

if TYPE_CHECKING:
    from tests.conftest import Project


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


def test_missing_data_block_everything_with_the_reason(project: Project, tiny: str) -> None:
    plan = project.plan(replaced(tiny, '"digits"', '"cifar10"'))
    for job in plan.jobs:
        assert job.blocked is not None, job.id
        if job.id != "softmax/cifar10/seed1/generation":
            assert "cifar-10" in job.blocked
            assert str(project.bench.settings.data) in job.blocked


@pytest.mark.parametrize(("sets", "whole"), [('["patches", "svhn"]', False), ('["svhn"]', True)])
def test_a_missing_out_of_distribution_set_blocks_its_predictions(
    project: Project, tiny: str, sets: str, whole: bool
) -> None:
    """The evaluation is blocked only if no set is left; otherwise it knows which one is missing and why."""
    plan = project.plan(replaced(tiny, 'sets = ["patches"]', f"sets = {sets}"))
    blocked = {
        job.id.removeprefix("gmmc-gen/digits/seed1/") for job in plan.jobs if job.blocked and job.model == "gmmc-gen"
    }
    assert blocked == {"predict/svhn", "predict/svhn.gradient", *(["ood"] if whole else [])}
    ood = planned(plan, "gmmc-gen/digits/seed1/ood")
    assert isinstance(ood.task, EvaluateTask)
    reason = ood.blocked if whole else ood.task.absent_sets["svhn"]
    assert "train_32x32.mat" in str(reason)
    assert str(reason).endswith("; or: bench data get svhn")
    assert whole or {name.rpartition("/")[0] for name in ood.task.needs} == {"test", "ood:patches"}


def test_a_set_that_is_found_later_gives_another_key(
    project: Project, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = replaced(tiny, 'sets = ["patches"]', 'sets = ["patches", "svhn"]')
    before = {job.id: job.key for job in project.plan(text).jobs}
    monkeypatch.setattr("bench.plan.planner.absence", lambda *_: None)
    after = {job.id: job.key for job in project.plan(text).jobs}
    assert {name for name in after if before[name] != after[name]} == {
        f"{model}/digits/seed1/ood" for model in ("softmax", "gmmc-gen")
    }


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


def inception_suite(tiny: str, more: str = "") -> str:
    return replaced(tiny, 'kind  = "generation"', f'kind  = "fid"\n{more}')


@pytest.fixture
def inception(project: Project) -> None:
    """The file of weights is there, so that evaluations that need it are planned."""
    weights = project.bench.settings.weights
    weights.mkdir(parents=True)
    (weights / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"")


def features_of(plan: Plan, name: str) -> dict[str, str]:
    found = [job.task.features for job in plan.jobs if job.id.endswith(name) and isinstance(job.task, EvaluateTask)]
    used = [features for features in found if features]
    assert used
    assert all(features == used[0] for features in used)
    return used[0]


def test_models_and_seeds_share_the_features_of_real_images(project: Project, tiny: str) -> None:
    model = '[[model]]\nfamily = "jem"\nbackbone = "wrn-10-1"\nseeds = [1, 2]\n\n'
    plan = project.plan(replaced(tiny, "[[evaluation]]", f"{model}[[evaluation]]"))
    shared = features_of(plan, "/generation")
    assert set(shared) == {"train", "test"}
    assert plan.keys == {job.key for job in plan.jobs} | set(shared.values())
    (softmax,) = [job.task for job in plan.jobs if job.id == "softmax/digits/seed1/generation"]
    assert isinstance(softmax, EvaluateTask)
    assert softmax.features == {}  # does not generate


def test_features_are_of_the_images_and_the_way_into_the_network(project: Project, tiny: str, inception: None) -> None:
    usual = features_of(project.plan(inception_suite(tiny)), "/fid")
    assert features_of(project.plan(inception_suite(tiny, "per_class = 50\nsplits = 2")), "/fid") == usual
    for more in ('resize = "tf1"', 'pixels = "uint8"'):
        other = features_of(project.plan(inception_suite(tiny, more)), "/fid")
        assert not set(other.values()) & set(usual.values())
    # Fewer training images leave the held-out ones as they are.
    capped = '[profile]\nname = "small"\n[caps]\ntrain = 100'
    fewer = features_of(project.plan(inception_suite(tiny), capped), "/fid")
    assert (fewer["test"] == usual["test"], fewer["train"] == usual["train"]) == (True, False)


def test_the_content_of_a_given_file_is_in_the_key(project: Project, tiny: str, inception: None) -> None:
    text = inception_suite(tiny, 'reference = "stats.npz"')

    def job() -> Job:
        (found,) = [job for job in project.plan(text).jobs if job.id == "gmmc-gen/digits/seed1/fid"]
        return found

    assert job().blocked == "reference stats.npz: No such file or directory"
    path = project.write("suites/stats.npz", "one")
    first = job()
    assert first.blocked is None
    assert isinstance(first.task, EvaluateTask)
    assert (first.task.files["reference"].path, first.task.features != {}) == (path, True)
    project.write("suites/stats.npz", "two")
    assert job().key != first.key
    project.write("suites/stats.npz", "one")
    assert job().key == first.key


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
