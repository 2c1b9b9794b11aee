"""What no run could do is told by ``check``, at the key that can be mended."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from bench.data.registry import DATASETS
from bench.errors import SuiteError
from bench.spec import BACKBONES, FAMILIES, Task
from bench.suite.feasible import features
from tests.conftest import Project

BASE = """\
[suite]
name = "s"
[data]
dataset = "{dataset}"
{data}
[[model]]
family = "{family}"
backbone = "wrn-10-1"
{model}
[[evaluation]]
kind = "accuracy"
{evaluation}
"""


def text(**given: str) -> str:
    values = {"dataset": "digits", "data": "", "family": "softmax", "model": "", "evaluation": "", **given}
    return BASE.format(**values)


def archive(project: Project, name: str, *, shape: tuple[int, ...] = (8, 8), classes: int = 3, **parts: int) -> None:
    (project.root / "suites").mkdir(exist_ok=True)
    arrays = {}
    for part, items in parts.items():
        suffix = "" if part == "all" else f"_{part}"
        arrays[f"x{suffix}"] = np.zeros((items, *shape), np.uint8)
        arrays[f"y{suffix}"] = np.arange(items) % classes
    np.savez(project.root / "suites" / name, **arrays)  # type: ignore[arg-type]


def model(family: str, more: str = "", backbone: str = "wrn-10-1") -> str:
    return f'[[model]]\nfamily = "{family}"\nbackbone = "{backbone}"\n{more}'


CASES: dict[str, tuple[dict[str, str], int, str, str]] = {
    "validation items": (
        {"data": "validation = 1_400"}, 5, "data.validation",
        "1400 validation items leave nothing to train on: 'digits' has 1400 training items",
    ),
    "a batch": (
        {"model": "batch_size = 1_201"}, 9, "model[0].batch_size",
        "a batch of 1201 items is larger than the training set of 1200",
    ),
    "a batch of few items": (
        {"dataset": "few.npz"}, 6, "model[0].batch_size", "a batch of 64 items is larger than the training set of 54",
    ),
    "no validation items": (
        {"dataset": "tiny.npz", "model": "batch_size = 2"}, 3, "data.validation",
        "'tiny' holds no items out for validation",
    ),
    "test items alone": (
        {"dataset": "test.npz"}, 4, "data.dataset", "'test' has no items to train on: it can only be an OOD set",
    ),
    "one class": ({"dataset": "one.npz"}, 4, "data.dataset", "all training items are of one class"),
    "a buffer of GMMC": (
        {"family": "gmmc-gen", "model": "[model.sampler]\nbuffer = 9"}, 10, "model[0].sampler.buffer",
        "9 images are too few: the buffer holds at least one for each of the 10 classes",
    ),
    "a buffer of JEM": (
        {"family": "jem", "model": "[model.sampler]\nbuffer = 9"}, 10, "model[0].sampler.buffer",
        "9 images are too few: the buffer holds at least one for each of the 10 classes",
    ),
    "centers": (
        {"dataset": "many.npz", "family": "gmmc-dis"}, 8, "model[0].backbone",
        "centers of 66 classes need at least 65 feature dimensions, this network has 64: use a wider one",
    ),
    "small images": (
        {"dataset": "pixels.npz"}, 8, "model[0].backbone",
        "image_shape must be (C, H, W) with C >= 1 and H, W >= 4, got (1, 3, 3)",
    ),
    "init_from of another family": (
        {"model": model("gmmc-dis", 'init_from = "softmax"')}, 12, "model[1].init_from",
        "'softmax' is a backbone with a linear head, this model a backbone with centers of norm 10: its weights",
    ),
    "init_from of another network": (
        {"model": model("jem", 'init_from = "softmax"', "wrn-10-2")}, 12, "model[1].init_from",
        "'softmax' has the backbone 'wrn-10-1', this model 'wrn-10-2': its weights do not fit",
    ),
    "init_from with other centers": (
        {"family": "gmmc-dis", "model": model("gmmc-gen", 'scale = 3.0\ninit_from = "gmmc-dis"')},
        13, "model[1].init_from",
        "'gmmc-dis' is a backbone with centers of norm 10, this model a backbone with centers of norm 3: its weights",
    ),
    "an OOD set twice": (
        {"evaluation": '[[evaluation]]\nkind = "ood"\nsets = ["patches", "uniform", "patches"]'},
        14, "evaluation[1].sets[2]", "'patches' is listed twice",
    ),
    "a model twice": (
        {"evaluation": '[[evaluation]]\nkind = "adaptive"\neps = ["8/255"]\ntransfer = ["softmax", "softmax"]'},
        15, "evaluation[1].transfer[1]", "'softmax' is listed twice",
    ),
    "a score twice": (
        {"evaluation": '[[evaluation]]\nkind = "ood"\nsets = ["patches"]\nscores = ["log-density", "log-density"]'},
        13, "evaluation[1].kind", "evaluation 'ood': column 'log-density.auroc@patches' is there twice",
    ),
    "an OOD set that is a device": (
        {"evaluation": '[[evaluation]]\nkind = "ood"\nsets = ["/dev/null"]'}, 14, "evaluation[1].sets[0]",
        "/dev/null: expected an .npz archive or a folder of images",
    ),
    "an id that jobs have": (
        {"evaluation": '[[evaluation]]\nkind = "calibration"\nid = "train"'}, 14, "evaluation[1].id",
        "the id 'train' is that of another kind of job",
    ),
    "one generated image": (
        {"family": "jem", "evaluation": '[[evaluation]]\nkind = "generation"\nitems = 1'}, 14, "evaluation[1].items",
        "'generation' needs at least 2 items, there are 1",
    ),
    "a judge without a batch": (
        {
            "dataset": "few.npz", "family": "jem", "model": "batch_size = 8",
            "evaluation": '[[evaluation]]\nkind = "generation"',
        },
        13, "evaluation[1].kind", "a batch of 64 items (of the judge's training) is larger than the training set of 54",
    ),
    "a name of a file that is too long": (
        {"model": f'weights = "{"x" * 300}"'}, 9, "model[0].weights", "no file can have a name of this length",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_run_is_located(project: Project, name: str) -> None:
    archive(project, "few.npz", train=60, test=20)
    archive(project, "tiny.npz", train=6, test=6)
    archive(project, "test.npz", test=20)
    archive(project, "one.npz", train=200, test=20, classes=1)
    archive(project, "many.npz", train=660, test=66, classes=66)
    archive(project, "pixels.npz", train=200, test=20, shape=(3, 3))
    given, line, key, message = CASES[name]
    with pytest.raises(SuiteError) as error:
        project.plan(text(**given))
    found = [(problem.line, problem.key) for problem in error.value.problems if message in problem.message]
    assert found == [(line, key)], str(error.value)
    assert len(error.value.problems) == 1, str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        {"data": "validation = 1_399", "model": "batch_size = 1"},
        {"model": "batch_size = 1_200"},
        {"family": "jem", "model": "[model.sampler]\nbuffer = 10"},
        {"dataset": "fit.npz", "family": "gmmc-dis"},
        {"model": model("jem", 'init_from = "softmax"')},
        {"family": "gmmc-dis", "model": model("gmmc-joint", 'init_from = "gmmc-dis"')},
        {"evaluation": '[[evaluation]]\nkind = "ood"\nsets = ["colour.npz"]'},
    ],
)
def test_what_just_can_run_is_let_be(project: Project, given: dict[str, str]) -> None:
    archive(project, "fit.npz", train=650, test=65, classes=65)  # 64 features hold a simplex of 65
    archive(project, "colour.npz", test=20, shape=(9, 7, 3))
    assert project.plan(text(**given)).jobs


def test_a_bound_of_a_profile_counts(project: Project) -> None:
    profile = '[profile]\nname = "small"\n[caps]\nitems = 1\n'
    with pytest.raises(SuiteError, match="'generation' needs at least 2 items, there are 1"):
        project.plan(text(family="jem", evaluation='[[evaluation]]\nkind = "generation"'), profile)


def test_images_of_other_channels(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    entries = {entry.name: entry for entry in DATASETS.entries()}
    assert entries["cifar10"].value is not None
    many = replace(entries["cifar10"].value, image_shape=(4, 32, 32))
    monkeypatch.setattr(DATASETS, "_entries", {**entries, "cifar10": replace(entries["cifar10"], value=many)})
    with pytest.raises(SuiteError, match="images of 4 channels and 'digits' of 1: only grey"):
        project.plan(text(evaluation='[[evaluation]]\nkind = "ood"\nsets = ["cifar10"]'))


def test_what_a_family_says_is_what_its_implementation_does(project: Project) -> None:
    """Parity with the classes that would raise in a worker."""
    from bench_models.centers import max_mahalanobis_centers
    from bench_models.replay import ReplayBuffer

    def raises(make: Any) -> bool:
        try:
            make()
        except ValueError:
            return True
        return False

    spec = FAMILIES.get("gmmc-gen")
    for classes in (2, 9, 10, 11, 64, 65, 66):
        task = Task(num_classes=classes, image_shape=(1, 4, 4), features=64)
        config = spec.config.model_validate({"sampler": {"buffer": 10}})
        said = spec.unfit(config, task)
        assert ("backbone" in said) == raises(lambda k=classes: max_mahalanobis_centers(k, 64, 10.0))
        made = lambda k=classes: ReplayBuffer(10, (1, 4, 4), k, seed=0, device="cpu")  # noqa: E731
        assert ("sampler.buffer" in said) == raises(made)
    assert features(BACKBONES.get("wrn-10-1"), (1, 4, 4)) == (64, "")
    assert features(BACKBONES.get("wrn-10-1"), (1, 3, 4))[1]


def test_chains_of_models_end(project: Project) -> None:
    """A planner that follows a chain of hundreds would run out of stack."""
    names = ["softmax", *(f"m{number}" for number in range(150))]
    models = "".join(
        model("softmax", f'name = "{own}"\nlabel = "{own}"\ninit_from = "{start}"\n') for start, own in pairwise(names)
    )
    with pytest.raises(SuiteError) as error:
        project.plan(text(model=models))
    first = error.value.problems[0]
    assert (first.key, first.message) == (
        "model[100].init_from",
        "more than 100 models start from each other in a row",
    )
    assert len(error.value.problems) == 51
