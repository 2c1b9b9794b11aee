"""Random points of the ball, and the flag that they raise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.attacks import run
from bench.attacks.diagnostics import noise_flag


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_points_are_as_far_out_as_the_budget_allows(norm: Any, make_linear: Any) -> None:
    toy = make_linear(count=32)
    inside = type(toy)(toy.model, 0.3 + 0.4 * toy.images, toy.labels)
    found = run("noise", inside.model, inside.images, inside.labels, norm=norm, eps=0.1, seed=0, draws=3)
    norms = getattr(found, norm)[found.clean_correct]
    np.testing.assert_allclose(norms, 0.1, rtol=1e-4)
    if norm == "linf":
        moved = np.abs(found.adversarials - inside.images.numpy())[found.clean_correct]
        np.testing.assert_allclose(moved, 0.1, rtol=1e-4)


def test_a_pixel_crosses_with_every_second_draw(of_images: Any) -> None:
    """One pixel 2/255 right of the decision: half of the corners at 8/255 break it; ten draws leave 1 in 1024."""
    model = of_images(lambda x: torch.cat([0 * x.flatten(1), x.flatten(1) - 0.5], dim=1))
    images = torch.full((400, 1, 1, 1), 0.5 + 2 / 255)
    labels = torch.ones(400, dtype=torch.int64)
    one, ten = (run("noise", model, images, labels, norm="linf", eps="8/255", seed=1, draws=n) for n in (1, 10))
    assert abs(one.robust_accuracy - 0.5) < 4 * 0.5 / 400**0.5
    assert ten.robust_accuracy < 0.02
    assert (ten.success | ~one.success).all()
    np.testing.assert_array_equal(one.forwards, 1)
    assert 1.7 < ten.forwards.mean() < 2.3


def test_does_not_depend_on_the_batch_or_the_company(make_linear: Any) -> None:
    toy = make_linear(count=32)
    common: dict[str, Any] = {"norm": "linf", "eps": 0.2, "seed": 3, "draws": 4}
    whole = run("noise", toy.model, toy.images, toy.labels, **common)
    half = run("noise", toy.model, toy.images[16:], toy.labels[16:], ids=np.arange(16, 32), batch_size=5, **common)
    np.testing.assert_array_equal(half.adversarials, whole.adversarials[16:])


def test_the_flag_needs_half_a_point_and_significance() -> None:
    attacked = np.ones(1000, dtype=np.bool_)
    left = attacked.copy()
    assert not noise_flag(attacked, left, 10).raised
    left[:5] = False
    assert not noise_flag(attacked, left, 10).raised
    left[:6] = False
    flag = noise_flag(attacked, left, 10)
    assert (flag.raised, flag.implies) == (True, "masked")
    assert "10 random points break 0.6 points" in flag.text
    small = noise_flag(attacked[:20], np.arange(20) > 0, 10)
    assert (small.raised, small.implies) == (True, "inconclusive")
    assert "n is too small" in small.text
    with pytest.raises(ValueError, match="one shape"):
        noise_flag(attacked, left[:3], 10)
