"""What a job reads is what its key speaks of: data, code and weights that change after planning are failures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data import archive, job, loading
from bench.data.job import job_ood, job_splits
from bench.data.spec import DamagedData
from bench.execute.context import Site
from bench.execute.kinds import hold_code
from bench.execute.worker import run_job
from bench.plan.jobs import Job, Plan
from bench.plan.tasks import PredictTask
from bench.store import Store
from tests.conftest import named

RESIZED = """\
[suite]
name = "resized"

[data]
dataset    = "digits"
train      = 70
validation = 100
resize     = [5, 6]

[[model]]
family   = "softmax"
backbone = "wrn-10-1"

[[evaluation]]
kind = "accuracy"
"""

SUITE = """\
[suite]
name = "own"

[data]
dataset = "{data}"

[[model]]
label    = "Brightness"
family   = "module"
callable = "brightness:build"

[[evaluation]]
kind = "accuracy"

[[evaluation]]
kind = "ood"
sets = ["{ood}"]

[[evaluation]]
kind  = "pgd"
steps = 1
eps   = ["8/255"]

[[table]]
id      = "main"
columns = ["accuracy"]
"""

BRIGHTNESS = """\
import torch

class Brightness(torch.nn.Module):
    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)

def build():
    return Brightness()
"""


@pytest.fixture(autouse=True)
def _brightness(site: Any) -> None:
    """A classifier that tells bright images from dark ones without any training."""
    site.module("brightness", BRIGHTNESS)


@pytest.fixture(autouse=True)
def fresh() -> Iterator[Callable[[], None]]:
    """A worker is a process of its own: nothing is known to it."""

    def forget() -> None:
        loading.clear_cache()
        job._DESCRIBED.clear()

    forget()
    yield forget
    forget()


def bright(labels: Any, low: int = 20, high: int = 220) -> Any:
    """Dark images for class 0 and bright ones for class 1, all of them different."""
    noise = np.random.default_rng(len(labels)).integers(0, 20, (len(labels), 8, 8))
    return (np.where(labels == 1, high, low)[:, None, None] + noise).astype(np.uint8)


def own(path: Path, *, swapped: bool = False, count: int = 80) -> Path:
    """An archive of two classes; ``swapped``: with the labels of the test part the wrong way round."""
    train, test = np.arange(count) % 2, np.arange(40) % 2
    shown = 1 - test if swapped else test
    np.savez(path, x_train=bright(train), y_train=train, x_test=bright(test), y_test=shown)
    return path


def own_in_suites(project: Any) -> Path:
    (project.root / "suites").mkdir()
    return own(project.root / "suites" / "own.npz")


def plan_of(project: Any, data: str, ood: str = "uniform") -> Plan:
    found: Plan = project.bench.plan(project.suite(SUITE.format(data=data, ood=ood), "own"))
    return found


def failure(where: Site, one: Job) -> str:
    folder = Store(where.store).folder(one.key)
    assert folder.record() is None
    error = folder.error()
    assert error is not None
    return str(error["message"])


@pytest.mark.parametrize("late", [0, 1, 2], ids=["before training", "before predictions", "before an attack"])
def test_an_archive_that_changes_during_a_run_is_a_failure_and_never_a_result(
    project: Any, where: Site, fresh: Callable[[], None], late: int
) -> None:
    path = own_in_suites(project)
    original = path.read_bytes()
    plan = plan_of(project, "own.npz")
    jobs = [named(plan, "/train"), named(plan, "/predict/test"), named(plan, "/pgd@8/255")]
    for one in jobs[:late]:
        run_job(one, where)
        fresh()
    own(path, swapped=True)
    run_job(jobs[late], where)
    assert failure(where, jobs[late]).startswith(f"data set {path.resolve()} has changed since the suite was read")
    fresh()
    path.write_bytes(original)
    for one in (*jobs[late:], named(plan, "/accuracy")):
        run_job(one, where)
    record = Store(where.store).folder(named(plan, "/accuracy").key).record_json()
    assert record is not None
    assert record["numbers"][0]["value"] == 1.0


def test_the_same_job_is_planned_for_the_same_content_alone(project: Any) -> None:
    path = own_in_suites(project)
    first = named(plan_of(project, "own.npz"), "/train")
    own(path, swapped=True)
    assert named(plan_of(project, "own.npz"), "/train").key != first.key
    own(path)
    assert named(plan_of(project, "own.npz"), "/train").key == first.key


def test_an_ood_set_that_changes_is_named(project: Any, fresh: Callable[[], None]) -> None:
    inside, outside = own_in_suites(project), own(project.root / "suites" / "far.npz", count=60)
    plan = plan_of(project, "own.npz", "far.npz")
    one = named(plan, "/predict/far")
    assert set(one.as_json()["spec"]["fingerprints"]["data"]) == {str(inside.resolve()), str(outside.resolve())}
    task = one.task
    assert isinstance(task, PredictTask)
    assert task.ood is not None
    data = task.train.data
    assert len(job_ood(data, task.ood, project.root)) == 40
    fresh()
    own(outside, swapped=True)
    with pytest.raises(DamagedData, match=rf"data set {outside.resolve()} has changed"):
        job_ood(data, task.ood, project.root)
    job_splits(named(plan, "/train").task.train.data, project.root)  # which does not read it


def folder_of(root: Path) -> Path:
    for part, count in (("train", 12), ("test", 4)):
        for label in (0, 1):
            for index, image in enumerate(bright(np.full(count, label))):
                place = root / part / str(label)
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(place / f"{index}.png")
    return root


def rewritten(root: Path) -> None:
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(root / "train" / "1" / "3.png")


def taken(root: Path) -> None:
    (root / "test" / "0" / "0.png").unlink()


def added(root: Path) -> None:
    shutil.copy(root / "test" / "0" / "0.png", root / "test" / "0" / "more.png")


def moved(root: Path) -> None:
    (root / "train" / "0" / "1.png").rename(root / "train" / "1" / "99.png")


def cut(root: Path) -> None:
    path = root / "train" / "0" / "1.png"
    path.write_bytes(path.read_bytes()[:40])


def gone(root: Path) -> None:
    shutil.rmtree(root / "train")


@pytest.mark.parametrize("change", [rewritten, taken, added, moved, cut, gone])
def test_a_folder_that_changes_is_named(
    project: Any, fresh: Callable[[], None], change: Callable[[Path], None]
) -> None:
    root = folder_of(project.root / "suites" / "own")
    one = named(plan_of(project, "./own"), "/train")
    assert len(job_splits(one.task.train.data, project.root).test) == 8
    fresh()
    change(root)
    with pytest.raises(DamagedData, match=rf"data set {root.resolve()} has changed since the suite was read"):
        job_splits(one.task.train.data, project.root)


def test_an_archive_that_changes_between_hash_and_parse_is_not_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own(tmp_path / "own.npz")
    digest = archive.file_digest

    def slow(one: Path) -> str:
        found = digest(one)
        own(path, swapped=True)
        return found

    monkeypatch.setattr(archive, "file_digest", slow)
    with pytest.raises(ValueError, match=r"own\.npz: not a readable .*another SHA-256"):
        job.find_dataset(str(path), tmp_path)


def test_data_that_change_between_description_and_load_are_refused(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = own_in_suites(project)
    one = named(plan_of(project, "own.npz"), "/train")
    find = job.find_dataset

    def slow(name: str, relative_to: Path) -> Any:
        found = find(name, relative_to)
        own(path, swapped=True)
        return found

    monkeypatch.setattr(job, "find_dataset", slow)
    with pytest.raises(
        DamagedData, match=r"own\.npz has changed since the suite was read.*it was sha256:.*it is sha256:"
    ):
        job_splits(one.task.train.data, project.root)


def test_what_one_process_has_read_it_does_not_read_again(project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is kept by its fingerprint: right for a job of that content, unknown to a job of another."""
    path = own_in_suites(project)
    first = named(plan_of(project, "own.npz"), "/train")
    labels = job_splits(first.task.train.data, project.root).test.labels
    own(path, swapped=True)
    second = named(plan_of(project, "own.npz"), "/train")
    np.testing.assert_array_equal(job_splits(first.task.train.data, project.root).test.labels, labels)
    np.testing.assert_array_equal(job_splits(second.task.train.data, project.root).test.labels, 1 - labels)


MODULE = """\
[suite]
name = "module"

[data]
dataset = "digits"

[[model]]
label      = "Theirs"
family     = "module"
callable   = "their_net:build"
state_dict = "{weights}"

[[evaluation]]
kind = "accuracy"

[[table]]
id      = "main"
columns = ["accuracy"]
"""

NET = """\
import torch

def build():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


@pytest.mark.parametrize("what", ["source", "state_dict"])
def test_code_or_weights_of_a_foreign_module_that_change_are_named(
    project: Any, where: Site, site: Any, what: str
) -> None:
    import torch

    site.module("their_net", NET)
    weights = project.root / "net.pt"
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict(), weights)
    plan = project.plan(MODULE.format(weights=weights))
    one = named(plan, "/train")
    hold_code(one.task)
    if what == "source":
        site.module("their_net", NET.replace("64, 10)", "64, 10, bias=True)"))
    else:
        torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict(), weights)
    run_job(one, where)
    given = str(weights) if what == "state_dict" else "their_net:build"
    assert failure(where, one) == f"{what} of family 'module' ({given}) has changed since the suite was read; run again"


FAMILY = """\
from bench_models.softmax import Softmax
from bench.spec import FamilySpec, TrainingConfig


class Theirs(Softmax):
    factor = 1.0


SPEC = FamilySpec(
    name="theirs", label="theirs", summary="Theirs.", source="a test",
    config=TrainingConfig, implementation="their_family:Theirs",
)
"""


def test_code_of_a_family_without_a_version_that_changes_is_named(project: Any, where: Site, site: Any) -> None:
    site.module("their_family", FAMILY)
    text = SUITE.format(data="digits", ood="uniform").replace(
        'family   = "module"\ncallable = "brightness:build"', 'family = "their_family:SPEC"\nbackbone = "wrn-10-1"'
    )
    one = named(project.plan(text), "/train")
    site.module("their_family", FAMILY.replace("1.0", "2.0"))
    run_job(one, where)
    assert failure(where, one) == "the code of family 'theirs' has changed since the suite was read; run again"


def test_images_are_resized_and_the_size_is_in_the_key(project: Any) -> None:
    whole = project.plan(RESIZED.replace("resize     = [5, 6]\n", ""))
    plan = project.plan(RESIZED)
    (task,) = {job.task.key: job.task for job in plan.jobs if job.kind == "train"}.values()
    assert plan.suite.image_shape == (1, 5, 6)
    assert task.data.identity["transform"] == "1x8x8 to 1x5x6, PIL bilinear, antialiased"
    assert {job.key for job in plan.jobs}.isdisjoint(job.key for job in whole.jobs)
    splits = job_splits(task.data, project.bench.settings.data)
    native = job_splits(replace(task.data, resize=None), project.bench.settings.data)
    assert [part.images.shape for part in (splits.train, splits.validation, splits.test)] == [
        (70, 1, 5, 6),
        (100, 1, 5, 6),
        (397, 1, 5, 6),
    ]
    first = Image.fromarray(native.train.images[0, 0]).resize((6, 5), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(splits.train.images[0, 0], np.asarray(first))
    np.testing.assert_array_equal(splits.train.ids, native.train.ids)


def test_a_profile_that_replaces_the_data_leaves_their_size(project: Any) -> None:
    text = '[profile]\nname = "p"\n[substitute.data]\ndigits = "fashion-mnist"\n'
    plan = project.plan(RESIZED, text)
    assert (plan.suite.image_shape, plan.suite.caps.train) == ((1, 28, 28), 70)


def test_the_smaller_bound_on_training_items_counts(project: Any) -> None:
    for cap, expected in ((50, 50), (90, 70)):
        plan = project.plan(RESIZED, f'[profile]\nname = "p"\n[caps]\ntrain = {cap}\n')
        assert {job.task.data.train_cap for job in plan.jobs if job.kind == "train"} == {expected}
