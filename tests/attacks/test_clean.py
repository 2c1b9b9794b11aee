"""One clean pass for several attacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from bench.attacks import AttackResult, CleanPass, eps_sweep, run

OPTIONS: dict[str, Any] = {"norm": "linf", "eps": 0.05, "seed": 0, "steps": 3, "batch_size": 7}


class Counting(nn.Module):
    """A model that counts the images that it sees without a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 0 if images.requires_grad else len(images)
        logits: Tensor = self.model(images)
        return logits


def assert_equal(one: AttackResult, other: AttackResult) -> None:
    assert vars(one).keys() == vars(other).keys()
    for name, values in vars(one).items():
        if isinstance(values, np.ndarray):
            np.testing.assert_array_equal(values, vars(other)[name], err_msg=name)


def test_later_attacks_find_what_the_first_one_computed(convolutional: Any) -> None:
    """Also on some of the images, in another order: they are known by their content."""
    model = Counting(convolutional.model)
    images, labels = convolutional.images[:14], convolutional.labels[:14]
    clean = CleanPass(model, 7)
    first = run("pgd", model, images, labels, clean=clean, **OPTIONS)
    model.seen = 0
    assert_equal(run("pgd", model, images, labels, clean=clean, **OPTIONS), first)
    shared = model.seen
    model.seen = 0
    assert_equal(run("pgd", model, images, labels, **OPTIONS), first)
    assert model.seen == shared + 14
    order = [3, 11, 0]
    some = run("pgd", model, images[order], labels[order], ids=order, clean=clean, **OPTIONS)
    np.testing.assert_array_equal(some.clean_correct, first.clean_correct[order])
    np.testing.assert_array_equal(some.margin_before, first.margin_before[order])


def test_what_is_not_known_is_computed(convolutional: Any) -> None:
    model = convolutional.model
    clean = CleanPass(model, 7)
    run("pgd", model, convolutional.images[:5], convolutional.labels[:5], clean=clean, **OPTIONS)
    images, labels = convolutional.images[2:12], convolutional.labels[2:12]
    ids = np.arange(2, 12)
    assert_equal(
        run("pgd", model, images, labels, ids=ids, clean=clean, **OPTIONS),
        run("pgd", model, images, labels, ids=ids, **OPTIONS),
    )


def test_it_belongs_to_one_model_and_one_batch_size(convolutional: Any, make_linear: Any) -> None:
    model, images, labels = convolutional.model, convolutional.images, convolutional.labels
    for clean in (CleanPass(make_linear().model, 7), CleanPass(model, 8)):
        with pytest.raises(ValueError, match="of one model at one batch size"):
            run("pgd", model, images, labels, clean=clean, **OPTIONS)


def test_a_sweep_makes_one_clean_pass(convolutional: Any) -> None:
    model = Counting(convolutional.model)
    options: dict[str, Any] = {"norm": "linf", "seed": 0, "steps": 1, "iterate": "any", "batch_size": 1}
    images, labels = convolutional.images[:12], convolutional.labels[:12]
    sweep = eps_sweep("pgd", model, images, labels, eps=[1e-9, 2e-9, 3e-9], **options)
    alive = int(sweep.robust.sum())
    assert sweep.robust.any()
    # The clean images once; for each budget the layout probe (a pair), the last iterate, and the judge.
    assert model.seen == len(images) + 3 * 2 + 2 * alive
