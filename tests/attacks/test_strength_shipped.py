"""Own attacks against the best of foolbox and torchattacks, and searches in bfloat16 against those in float32: every
shipped family, trained on digits, and two toys.

Comparisons are paired over the images: an own attack may be behind by no more than two standard errors of the mean
difference. What was measured is printed (``pytest -m slow -rP``).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.attacks import eps_sweep, run
from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.train.loop import Trainer
from bench.weights import load as trained
from bench.weights.find import Blueprint

pytestmark = pytest.mark.slow

IMAGES = 100
SEEDS = (0, 1, 2)
SAMPLER = {"steps": 10, "buffer": 1_000}

# The recipes of suites/digits.toml, shorter where training is slow. All have S = 10, the default.
RECIPES: dict[str, dict[str, Any]] = {
    "softmax": {"epochs": 17, "lr": 2e-3, "decay_epochs": [10, 14]},
    "jem": {"epochs": 8, "lr": 3e-3, "decay_epochs": [5, 7], "sampler": {**SAMPLER, "clamp": True}},
    "gmmc-dis": {"epochs": 28, "lr": 2e-3, "decay_epochs": [17, 24]},
    "gmmc-gen": {"epochs": 8, "lr": 2e-3, "decay_epochs": [5, 7], "sampler": SAMPLER},
    "gmmc-joint": {"epochs": 14, "start_generative": 10, "lr": 2e-3, "decay_epochs": [10, 13], "sampler": SAMPLER},
}
SHIPPED = tuple(RECIPES)
TOYS = ("linear", "quadratic")

OWN: dict[str, Any] = {"restarts": 2, "rivals": 3}  # 100 steps; the default is more: 5 restarts, 9 rivals
LIBRARIES: dict[str, tuple[str, dict[str, Any]]] = {
    "foolbox.LinfPGD": ("foolbox.LinfPGD", {"steps": 100, "rel_stepsize": 0.05, "restarts": 2}),
    "torchattacks.PGD": ("torchattacks.PGD", {"steps": 100, "alpha": "eps/20", "restarts": 2}),
    "torchattacks.APGD ce": ("torchattacks.APGD", {"steps": 100, "loss": "ce", "restarts": 2}),
    "torchattacks.APGD dlr": ("torchattacks.APGD", {"steps": 100, "loss": "dlr", "restarts": 2}),
    "torchattacks.FAB": ("torchattacks.FAB", {"steps": 100}),
    "torchattacks.Square": ("torchattacks.Square", {"n_queries": 1000}),
}
ONCE = {"torchattacks.PGD", "torchattacks.FAB", "torchattacks.Square"}
"""With the first seed only: the first is what foolbox has too, the others are dear for what they find."""


@dataclass(frozen=True)
class Subject:
    """A model and the images to attack."""

    model: nn.Module
    images: Tensor
    labels: Tensor

    def attack(self, name: str, **options: Any) -> Any:
        return run(name, self.model, self.images, self.labels, batch_size=IMAGES, **options)

    def clean_gaps(self) -> NDArray[np.float64]:
        """z_y - max_{k != y} z_k of the images that are classified correctly."""
        with torch.no_grad():
            logits = self.model.eval()(self.images).double()
        own = logits.gather(1, self.labels[:, None])[:, 0]
        gaps = own - logits.scatter(1, self.labels[:, None], -torch.inf).amax(dim=1)
        positive: NDArray[np.float64] = gaps[gaps > 0].numpy()
        return positive


@functools.cache
def shipped(family_name: str) -> Subject:
    """A family trained on the digits, and the first test items."""
    digits = DATASETS.get("digits")
    splits = load_splits(digits, Path("/"), seed=2, validation=digits.validation)
    spec = Blueprint(family=family_name, backbone="wrn-10-1", config={"warmup": 0, **RECIPES[family_name]}, seed=1)
    family, model = trained.build(spec, 10, (1, 8, 8), "cpu")
    assert Trainer(family, model, splits, augmentation="none", seed=1).run().diverged is None
    images, labels = torch.from_numpy(splits.test.unit_images()), torch.from_numpy(splits.test.labels)
    with torch.no_grad():
        accuracy = float((model.logits(images).argmax(dim=1) == labels).float().mean())
    assert accuracy > 0.9
    return Subject(model, images[:IMAGES], labels[:IMAGES])


@pytest.fixture
def subject(request: pytest.FixtureRequest, make_linear: Any, make_quadratic: Any) -> Subject:
    name: str = request.param
    if name in SHIPPED:
        return shipped(name)
    toy = (make_linear if name == "linear" else make_quadratic)(count=IMAGES)
    return Subject(toy.model, toy.images, toy.labels)


def contested_budget(subject: Subject) -> float:
    """An L_inf budget at which a cheap attack leaves about a third."""
    low, high = 1e-3, 0.6
    for _ in range(8):
        middle = (low * high) ** 0.5
        cheap = {"loss": "margin", "steps": 20, "step": 0.2, "iterate": "any", "survivors_only": True}
        left = subject.attack("pgd", norm="linf", eps=middle, seed=9, **cheap).robust_accuracy
        low, high = (middle, high) if left > 1 / 3 else (low, middle)
    return high


def shares(robust: NDArray[np.bool_]) -> str:
    return ", ".join(f"{share:.2f}" for share in robust.mean(axis=1))


def not_behind(differences: NDArray[np.floating]) -> bool:
    """Whether the mean of paired differences, own minus theirs where less is better, is within two standard errors."""
    values = np.asarray(differences, dtype=np.float64)
    return bool(values.mean() <= 2 * values.std(ddof=1) / np.sqrt(len(values)))


def test_two_standard_errors_can_fail() -> None:
    assert not_behind(np.zeros(100))
    assert not_behind(np.array([1.0] * 3 + [0.0] * 97))
    assert not not_behind(np.array([1.0] * 5 + [0.0] * 95))
    assert not not_behind(np.full(50, 0.1))


def test_gmmc_is_as_sharp_as_its_recipe_makes_it() -> None:
    """From a gap of 17 on p_y rounds to 1 in float32: what fools cross-entropy must be among the subjects."""
    assert np.median(shipped("gmmc-dis").clean_gaps()) > 17


@pytest.mark.parametrize("subject", [*SHIPPED, *TOYS], indirect=True)
def test_adaptive_pgd_leaves_no_more_than_the_best_library(subject: Subject) -> None:
    eps = contested_budget(subject)

    def robust(name: str, seeds: tuple[int, ...], **params: Any) -> NDArray[np.bool_]:
        return np.stack([subject.attack(name, norm="linf", eps=eps, seed=seed, **params).robust for seed in seeds])

    every = robust("adaptive_pgd", SEEDS, **OWN)
    assert 0.2 <= every.mean() <= 0.7
    print(f"eps = {255 * eps:.2f}/255; own leaves {shares(every)}")
    behind = {}
    together = np.ones_like(every[0])
    for label, (name, params) in LIBRARIES.items():
        seeds = SEEDS[:1] if label in ONCE else SEEDS
        own, theirs = every[: len(seeds)], robust(name, seeds, **params)
        together &= theirs[0]
        only = f"broken by them alone {int((own & ~theirs).sum())}, by us alone {int((theirs & ~own).sum())}"
        print(f"{label} leaves {shares(theirs)}; {only}")
        # The same images under every seed: seeds are averaged before images are counted.
        differences = own.mean(axis=0) - theirs.mean(axis=0)
        if not not_behind(differences):
            behind[label] = float(differences.mean())
    print(f"all libraries together leave {shares(together[None])} with the first seed")
    assert not behind


CONSTANTS = (0.1, 1.0, 10.0)
"""torchattacks.CW has no search over c: of each image the best of these runs counts."""


def median_error(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """Standard error of the difference of paired medians, by the bootstrap over images."""
    rows = np.random.default_rng(0).integers(len(ours), size=(2000, len(ours)))
    return float((np.median(ours[rows], axis=1) - np.median(theirs[rows], axis=1)).std(ddof=1))


@pytest.mark.parametrize("subject", [*SHIPPED, *TOYS], indirect=True)
def test_cw_norms_are_no_larger_than_those_of_the_libraries(subject: Subject) -> None:
    # In the libraries pixels of exactly 0 or 1, half of a digit, hardly move. Here all of them can.
    subject = Subject(subject.model, 0.1 + 0.8 * subject.images, subject.labels)
    own = subject.attack("cw_l2", norm="l2", seed=0, steps=100)
    assert own.clean_correct.mean() > 0.8
    print(f"own: {int(own.success.sum())} of {int(own.clean_correct.sum())}, mean {own.l2[own.success].mean():.4f}")
    foolbox = subject.attack("foolbox.L2CarliniWagner", norm="l2", seed=0, steps=100)  # 9 rounds, no early abort
    fixed = [subject.attack("torchattacks.CW", norm="l2", seed=0, steps=200, c=c) for c in CONSTANTS]
    opponents = {
        "foolbox.L2CarliniWagner": foolbox.l2_with_failures,
        "torchattacks.CW": np.min([result.l2_with_failures for result in fixed], axis=0),
    }
    for label, theirs in opponents.items():
        broken = np.isfinite(theirs)
        both = own.success & broken
        ours, others = own.l2[both], theirs[both]
        print(
            f"{label}: {int(broken.sum())}; over {int(both.sum())} common ones mean {others.mean():.4f} "
            f"(own {ours.mean():.4f}), median {np.median(others):.4f} (own {np.median(ours):.4f}), "
            f"largest own / theirs {(ours / others).max():.3f}"
        )
        assert both.sum() >= 50, label
        assert own.success.sum() >= broken.sum(), label
        assert not_behind(ours - others), label
        assert np.median(ours) - np.median(others) <= 2 * median_error(ours, others), label


def excess(lowered: NDArray[np.floating], exact: NDArray[np.floating], what: str) -> bool:
    """Print the paired difference, bf16 minus float32, and its standard error; whether bf16 is not behind."""
    values = np.asarray(lowered, dtype=np.float64) - exact
    error = values.std(ddof=1) / np.sqrt(len(values))
    print(
        f"{what}: float32 {exact.mean():.4f}, bf16 {lowered.mean():.4f}, difference {values.mean():+.4f} ({error:.4f})"
    )
    return not_behind(values)


SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "pgd ce": ("pgd", {}),
    "pgd margin": ("pgd", {"loss": "margin"}),
    "pgd ce, any iterate, survivors only": ("pgd", {"iterate": "any", "survivors_only": True}),
    "adaptive_pgd": ("adaptive_pgd", OWN),
}
LOWERED = {"search_precision": "bf16"}


@pytest.mark.parametrize("subject", SHIPPED, indirect=True)
def test_a_search_in_bfloat16_leaves_no_more_than_one_in_float32(subject: Subject) -> None:
    eps = contested_budget(subject)
    behind = []
    for what, (name, params) in SEARCHES.items():
        found = [
            np.mean(
                [subject.attack(name, norm="linf", eps=eps, seed=seed, **params, **more).robust for seed in SEEDS],
                axis=0,
            )
            for more in (LOWERED, {})
        ]
        if not excess(found[0], found[1], what):
            behind.append(what)
    sweeps = [
        np.mean(
            [
                eps_sweep(
                    "pgd", subject.model, subject.images, subject.labels, norm="linf", eps=[eps / 2, eps, 2 * eps],
                    seed=seed, batch_size=IMAGES, iterate="any", survivors_only=True, **more,
                ).robust.mean(axis=0)
                for seed in SEEDS
            ],
            axis=0,
        )
        for more in (LOWERED, {})
    ]  # fmt: skip
    if not excess(sweeps[0], sweeps[1], "sweep, mean over budgets"):
        behind.append("sweep")
    assert not behind


@pytest.mark.parametrize("subject", SHIPPED, indirect=True)
def test_norms_of_a_search_in_bfloat16_are_no_larger(subject: Subject) -> None:
    exact = subject.attack("cw_l2", norm="l2", seed=0, steps=100)
    lowered = subject.attack("cw_l2", norm="l2", seed=0, steps=100, **LOWERED)
    print(f"broken: float32 {int(exact.success.sum())}, bf16 {int(lowered.success.sum())}")
    both = exact.success & lowered.success
    assert lowered.success.sum() >= exact.success.sum()
    assert excess(lowered.l2[both], exact.l2[both], "mean L2 over common successes")
