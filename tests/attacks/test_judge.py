from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.attacks.frozen import frozen
from bench.attacks.judge import Judge
from bench.attacks.threat import ThreatModel


def judged(model: Any, images: Any, labels: Any, proposals: Any, *, eps: float = 0.1, **options: Any) -> Any:
    with frozen(model) as view:
        judge = Judge(
            view,
            images,
            labels,
            options.get("targets"),
            ThreatModel(options.get("norm", "linf"), eps),
            device=torch.device("cpu"),
            batch_size=4,
            own=options.get("own", False),
        )
        return judge.judge(proposals)


def by_first_pixel(images: torch.Tensor) -> torch.Tensor:
    """Class 0 below .25, 1 below .5, 2 above."""
    first = images.flatten(1)[:, 0]
    return torch.stack([0.25 - first, 0.1 - (first - 0.375).abs(), first - 0.5], dim=1)


def flat_images(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()


def test_success_needs_a_correct_start_and_a_wrong_end(of_images: Any) -> None:
    images = flat_images(0.2, 0.2, 0.2)
    proposals = flat_images(0.28, 0.22, 0.28)
    result = judged(of_images(by_first_pixel), images, torch.tensor([0, 0, 2]), proposals)
    assert result.success.tolist() == [True, False, False]
    assert result.predictions.tolist() == [1, 0, 1]
    assert result.linf == pytest.approx([0.08, 0.02, 0.08], abs=1e-6)
    assert result.l2 == pytest.approx([0.16, 0.04, 0.16], abs=1e-6)


def test_with_targets_only_the_target_counts(of_images: Any) -> None:
    images, proposals = flat_images(0.24, 0.24), flat_images(0.3, 0.3)
    labels, targets = torch.tensor([0, 0]), torch.tensor([1, 2])
    result = judged(of_images(by_first_pixel), images, labels, proposals, targets=targets)
    assert result.success.tolist() == [True, False]


@pytest.mark.parametrize(
    ("proposal", "why"),
    [(0.36, "ball"), (float("nan"), "finite"), (-0.05, "box")],
)
def test_outside_the_threat_model_is_invalid_or_a_bug(of_images: Any, proposal: float, why: str) -> None:
    images, labels, proposals = (
        flat_images(0.05 if why == "box" else 0.24),
        torch.tensor([0]),
        flat_images(proposal),
    )
    model = of_images(by_first_pixel)
    result = judged(model, images, labels, proposals)
    assert not result.valid.any()
    assert not result.success.any()
    with pytest.raises(RuntimeError, match="left its ball or box"):
        judged(model, images, labels, proposals, own=True)


def test_rounding_is_tolerated(of_images: Any) -> None:
    images = flat_images(0.2)
    model, labels = of_images(by_first_pixel), torch.tensor([0])
    assert judged(model, images, labels, images + 0.1 + 5e-8, own=True).success.all()
    assert not judged(model, images, labels, images + 0.1 + 1e-6).success.any()


def test_logits_that_are_not_finite_are_no_success(of_images: Any) -> None:
    def broken(images: torch.Tensor) -> torch.Tensor:
        logits = by_first_pixel(images)
        return torch.where(images.flatten(1)[:, :1] > 0.25, torch.nan, logits)

    result = judged(of_images(broken), flat_images(0.24), torch.tensor([0]), flat_images(0.3))
    assert not result.success.any()
    assert not result.valid.any()


def test_a_black_image_is_a_failure_even_where_its_class_differs(of_images: Any) -> None:
    images = flat_images(0.3, 0.3)
    proposals = flat_images(0.0, 0.2)
    model, labels = of_images(by_first_pixel), torch.tensor([1, 1])
    result = judged(model, images, labels, proposals, eps=float("inf"))
    assert result.predictions.tolist() == [0, 0]
    assert result.success.tolist() == [False, True]


def test_predictions_do_not_depend_on_the_number_of_images(convolutional: Any) -> None:
    images, labels = convolutional.images, convolutional.labels
    everything = judged(convolutional.model, images, labels, images)
    some = judged(convolutional.model, images[:5], labels[:5], images[:5])
    assert everything.margin[:5].tobytes() == some.margin.tobytes()


def test_labels_and_targets_are_checked(of_images: Any) -> None:
    images, model = flat_images(0.2), of_images(by_first_pixel)
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.2"):
        judged(model, images, torch.tensor([3]), images)
    with pytest.raises(ValueError, match=r"targets must be in 0\.\.2"):
        judged(model, images, torch.tensor([0]), images, targets=torch.tensor([-1]))
    with pytest.raises(ValueError, match="target must differ"):
        judged(model, images, torch.tensor([0]), images, targets=torch.tensor([0]))
    with pytest.raises(ValueError, match="expected proposals of shape"):
        judged(model, images, torch.tensor([0]), images[:, :, :1])
    assert np.isfinite(judged(model, images, torch.tensor([0]), images).margin).all()
