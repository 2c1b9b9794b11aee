from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import bench.attacks
from bench.attacks import run

OPTIONS: dict[str, Any] = {"norm": "linf", "eps": 0.03, "seed": 0}


def test_results_are_consistent(make_linear: Any) -> None:
    toy = make_linear()
    result = run("pgd", toy.model, toy.images, toy.labels, **OPTIONS, ids=np.arange(100, 164))
    attacked = result.clean_correct
    assert result.ids.tolist() == list(range(100, 164))
    assert result.robust.tolist() == (attacked & ~result.success).tolist()
    assert result.robust_accuracy == result.robust.mean()
    with torch.no_grad():
        assert result.predictions.tolist() == toy.model(torch.from_numpy(result.adversarials)).argmax(1).tolist()
    assert (result.success == (attacked & (result.predictions != toy.labels.numpy()))).all()
    assert ((result.margin_before < 0) == attacked).all()
    assert ((result.margin_after > 0)[attacked] == result.success[attacked]).all()
    difference = (result.adversarials - toy.images.numpy()).reshape(64, -1)
    np.testing.assert_allclose(result.linf, np.abs(difference).max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(result.l2, np.linalg.norm(difference, axis=1), rtol=1e-5)


def test_images_that_are_wrong_anyway_are_left_alone(make_linear: Any) -> None:
    toy = make_linear()
    result = run("pgd", toy.model, toy.images, toy.labels, **OPTIONS)
    wrong = ~result.clean_correct
    assert wrong.any()
    assert (result.adversarials[wrong] == toy.images.numpy()[wrong]).all()
    assert not result.success[wrong].any()
    assert not result.forwards[wrong].any()
    assert np.isnan(result.loss[wrong]).all()
    assert np.isnan(result.health.start_gradient[wrong]).all()
    assert (result.first_step[wrong] == -1).all()
    assert result.valid[wrong].all()


@pytest.mark.parametrize("name", ["pgd", "torchattacks.PGD"])
def test_nothing_to_attack(make_linear: Any, name: str) -> None:
    toy = make_linear()
    with torch.no_grad():
        wrong = (toy.model(toy.images).argmax(dim=1) + 1) % 10
    result = run(name, toy.model, toy.images, wrong, **OPTIONS)
    assert (result.clean_accuracy, result.robust_accuracy) == (0, 0)
    assert np.isnan(result.health.zero_gradient_share)
    assert (result.adversarials == toy.images.numpy()).all()


def test_inputs_are_not_changed_and_arrays_are_taken(make_linear: Any) -> None:
    toy = make_linear()
    before = toy.images.clone()
    tensors = run("pgd", toy.model, toy.images, toy.labels, **OPTIONS)
    arrays = run("pgd", toy.model, toy.images.numpy(), toy.labels.numpy(), **OPTIONS)
    assert torch.equal(toy.images, before)
    assert tensors.adversarials.tobytes() == arrays.adversarials.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(4, 48)}, r"shape \(N, C, H, W\)"),
        ({"images": torch.zeros(0, 3, 4, 4)}, "N >= 1"),
        ({"images": torch.zeros(4, 3, 4, 4, dtype=torch.uint8)}, "float32 or float64"),
        ({"images": torch.full((4, 3, 4, 4), 2.0)}, r"images must be in \[0, 1\], got 2..2"),
        ({"images": torch.full((4, 3, 4, 4), torch.nan)}, r"images must be in \[0, 1\]"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"labels must be integers of shape \(4,\)"),
        ({"labels": torch.zeros(4)}, "labels must be integers"),
        ({"ids": np.zeros(4)}, "ids must be integers"),
        ({"targets": torch.full((4,), 10)}, r"targets must be in 0\.\.9"),
        ({"norm": "l1"}, "knows norm linf and l2, got 'l1'"),
        ({"eps": None}, "'pgd' needs eps"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"name": "pdg"}, "unknown attack 'pdg'; did you mean 'pgd'"),
        ({"loss": "distance"}, r"has no class_centers\(\)"),
    ],
)
def test_bad_requests_say_what_would_be_right(make_linear: Any, change: dict[str, Any], message: str) -> None:
    model = make_linear().model
    with torch.no_grad():
        labels = model(torch.zeros(4, 3, 4, 4)).argmax(dim=1)
    request = {"name": "pgd", "model": model, "images": torch.zeros(4, 3, 4, 4), "labels": labels, **OPTIONS}
    with pytest.raises(ValueError, match=message):
        run(**{**request, **change})


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    assert all(hasattr(bench.attacks, name) for name in bench.attacks.__all__)
    with pytest.raises(AttributeError, match="no attribute 'ran'"):
        bench.attacks.ran  # noqa: B018
