"""Which proposals count as a success, and the clean pass that several attacks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks import AttackResult, CleanPass, eps_sweep, run
from bench.attacks.frozen import frozen
from bench.attacks.judge import Judge
from bench.attacks.threat import ThreatModel

OPTIONS: dict[str, Any] = {"norm": "linf", "eps": 0.05, "seed": 0, "steps": 3, "batch_size": 7}


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
