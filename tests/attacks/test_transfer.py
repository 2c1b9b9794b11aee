"""Adversarial images of a surrogate, shown to another model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks import run
from bench.attacks.losses import margins


def transferred(toy: Any, surrogate: nn.Module, **options: Any) -> Any:
    given = {"norm": "linf", "eps": 0.05, "seed": 0, "steps": 20, "step": "eps/4", **options}
    return run("transfer", toy.model, toy.images, toy.labels, surrogate=surrogate, **given)


def test_from_the_model_itself_it_is_pgd_on_the_margin(make_linear: Any) -> None:
    toy = make_linear()
    found = transferred(toy, toy.model)
    # The decaying steps end at the same corner of the ball.
    direct = run(
        "pgd", toy.model, toy.images, toy.labels, norm="linf", eps=0.05, seed=0, steps=20, step="eps/4", loss="margin"
    )
    assert 0 < found.robust_accuracy < found.clean_accuracy
    np.testing.assert_array_equal(found.success, direct.success)


def test_in_two_classes_any_linear_surrogate_with_the_same_direction_is_as_good(
    make_linear: Any, exact_linear_robustness: Any
) -> None:
    # Sign steps see the direction alone: the surrogate's other scale and bias change nothing.
    toy, other = make_linear(classes=2), make_linear(classes=2)
    with torch.no_grad():
        other.model.weights.mul_(3)
        other.model.bias.add_(torch.tensor([5.0, -5.0]))
    found = transferred(toy, other.model)
    expected = exact_linear_robustness(toy, 0.05)
    assert 0 < expected.mean() < found.clean_accuracy
    np.testing.assert_array_equal(found.robust, expected & found.clean_correct)


def test_breaks_a_model_whose_gradients_vanish(make_linear: Any) -> None:
    sharp, plain = make_linear(scale=1000.0), make_linear(scale=1.0)
    budget: dict[str, Any] = {"norm": "linf", "eps": 0.2, "seed": 0}
    fooled = run("pgd", sharp.model, sharp.images, sharp.labels, loss="ce", **budget)
    assert fooled.robust_accuracy > 0.5 * fooled.clean_accuracy
    assert transferred(sharp, plain.model, eps=0.2).robust_accuracy == 0


def test_images_that_the_surrogate_gets_wrong_are_attacked_too(make_linear: Any) -> None:
    toy, other = make_linear(), make_linear()
    with torch.no_grad():
        other.model.bias.sub_(100 * torch.nn.functional.one_hot(torch.tensor(0), 10))
    found = transferred(toy, other.model)
    wrong = (other.model(toy.images).argmax(dim=1) != toy.labels).numpy() & found.clean_correct
    assert wrong.any()
    assert (found.linf[wrong] > 0).all()


def test_success_is_that_of_the_model_under_attack(make_linear: Any) -> None:
    toy, other = make_linear(), make_linear(seed=7)
    found = transferred(toy, other.model)
    with torch.no_grad():
        logits = toy.model(torch.from_numpy(found.adversarials))
    np.testing.assert_array_equal(found.success, found.clean_correct & (margins(logits, toy.labels) > 0).numpy())
    assert 0 < found.success.sum() < found.clean_correct.sum()
    assert np.isnan(found.health.start_gradient).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_restarts_break_no_fewer(norm: str, make_linear: Any) -> None:
    toy, other = make_linear(), make_linear(seed=7)
    eps = 0.05 if norm == "linf" else 0.4
    # One short step leaves what the start is to chance.
    few, many = (
        transferred(toy, other.model, norm=norm, eps=eps, steps=4, step="eps/1.2", restarts=restarts)
        for restarts in (1, 4)
    )
    assert (many.success | ~few.success).all()
    assert (many.forwards >= few.forwards)[many.clean_correct].all()


def test_does_not_depend_on_the_batch(make_linear: Any) -> None:
    toy, other = make_linear(), make_linear(seed=7)
    one, another = (transferred(toy, other.model, batch_size=size) for size in (64, 5))
    np.testing.assert_array_equal(one.adversarials, another.adversarials)


def test_leaves_both_models_as_they_were(convolutional: Any) -> None:
    class Breaking(nn.Module):
        def __init__(self, body: nn.Module) -> None:
            super().__init__()
            self.body, self.passes = body, 0

        def forward(self, images: Tensor) -> Tensor:
            self.passes += 1
            if self.passes == 4:
                raise RuntimeError("broken")
            logits: Tensor = self.body(images)
            return logits

    surrogate = Breaking(type(convolutional.model)()).train()
    surrogate.body.body[1].eval()
    convolutional.model.train()
    with pytest.raises(RuntimeError, match="broken"):
        transferred(convolutional, surrogate)
    assert surrogate.training
    assert not surrogate.body.body[1].training
    assert convolutional.model.training
    for parameter in (*surrogate.parameters(), *convolutional.model.parameters()):
        assert parameter.requires_grad
        assert parameter.grad is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"surrogate": None}, "needs a surrogate"),
        ({"targets": np.zeros(64, dtype=np.int64)}, "takes no targets"),
        ({"steps": 5}, "less than the 2 eps across"),
        ({"loss": "distance"}, "class_centers"),
        ({"losss": "ce"}, "did you mean 'loss'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refuses(options: dict[str, Any], message: str, make_linear: Any) -> None:
    toy = make_linear()
    given = {"norm": "linf", "eps": 0.05, "seed": 0, "surrogate": toy.model, **options}
    with pytest.raises(ValueError, match=message):
        run("transfer", toy.model, toy.images, toy.labels, **given)


def test_refuses_a_surrogate_of_other_classes(make_linear: Any) -> None:
    with pytest.raises(ValueError, match="the surrogate has 7 classes, the model 10"):
        transferred(make_linear(), make_linear(classes=7).model)


def test_others_take_no_surrogate(make_linear: Any) -> None:
    toy = make_linear()
    with pytest.raises(ValueError, match="takes no surrogate"):
        run("pgd", toy.model, toy.images, toy.labels, norm="linf", eps=0.1, seed=0, surrogate=toy.model)
