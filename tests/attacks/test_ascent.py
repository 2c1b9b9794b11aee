"""One run of gradient ascent against the same steps written down plainly: equal to the byte."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bench.attacks.ascent import Ascent, AscentBatch
from bench.attacks.frozen import frozen
from bench.attacks.losses import Goal, LossInputs, get_loss
from bench.attacks.table import Table
from bench.attacks.threat import ThreatModel

STEPS = 6


def plainly(
    model: Any, threat: ThreatModel, batch: AscentBatch, starts: Tensor, step: float, *, dropping: bool
) -> Table:
    """Cross-entropy ascent without any shortcut; images that are wrong are left out of later steps if ``dropping``."""
    count = len(starts)
    rows = list(range(count))
    trace = {
        "final": starts.clone(),
        "first": starts.clone(),
        "first_step": torch.full((count,), -1),
        "forwards": torch.zeros(count, dtype=torch.int64),
        "final_wrong": torch.zeros(count, dtype=torch.bool),
        **{name: torch.full((count,), torch.nan) for name in ("loss", "final_margin")},
        **{f"{when}_{what}": torch.full((count,), torch.nan) for when in ("start", "last") for what in HEALTH},
    }
    for number in range(STEPS + 1):
        points = trace["final"][rows].clone().requires_grad_()
        labels, images = batch.goal.labels[rows], batch.images[rows]
        logits = model.logits(points)
        losses = get_loss("ce")(LossInputs(logits, labels))
        (gradient,) = torch.autograd.grad(losses.sum(), points)
        logits, losses, points = logits.detach(), losses.detach(), points.detach()
        gradient = torch.where(gradient.isfinite(), gradient, torch.zeros_like(gradient))
        stepped = points.clone()
        if threat.norm == "linf":
            stepped = threat.project(stepped + step * gradient.sign(), images)
        else:
            shape = (-1, 1, 1, 1)
            direction = gradient / gradient.flatten(1).abs().amax(dim=1).clamp_min(TINY).view(shape)
            direction = direction / direction.flatten(1).norm(dim=1).clamp_min(TINY).view(shape)
            stepped = threat.project(stepped + step * direction, images)
        kept = []
        for place, row in enumerate(rows):
            wrong = bool(logits[place].argmax() != labels[place])
            others = [float(value) for k, value in enumerate(logits[place]) if k != labels[place]]
            trace["forwards"][row] += 1
            trace["loss"][row] = losses[place]
            trace["final_margin"][row] = max(others) - logits[place, labels[place]]
            trace["final_wrong"][row] = wrong
            if wrong and trace["first_step"][row] < 0:
                trace["first_step"][row], trace["first"][row] = number, points[place]
            if number == STEPS:
                continue
            probability = logits[place].softmax(dim=0)[labels[place]]
            for when in ("start", "last") if number == 0 else ("last",):
                trace[f"{when}_gradient"][row] = gradient[place].abs().max()
                trace[f"{when}_probability"][row] = probability
            if not (wrong and dropping):
                trace["final"][row] = stepped[place]
                kept.append(row)
        rows = kept if number < STEPS else rows
        if not rows:
            break
    never = trace["first_step"] < 0
    trace["first"][never] = trace["final"][never]
    return Table(trace)


HEALTH = ("gradient", "probability")
TINY = torch.finfo(torch.float32).tiny


def steep(images: Tensor) -> Tensor:
    """Logits with infinite slopes where a pixel is 0, and NaN slopes where two pixels are equal."""
    flat = images.flatten(1)
    root = flat[:, 0].sqrt() + (flat[:, 1] - flat[:, 2]).square().sqrt()
    return torch.stack([flat[:, 3], root, flat[:, 5]], dim=1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dropping", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("kind", "eps"), [("linear", 0.015), ("quadratic", 0.17), ("steep", 0.05), ("sum", 0.02)])
def test_every_byte_is_that_of_the_plain_steps(
    make_linear: Any, make_quadratic: Any, of_images: Any, kind: str, norm: Any, eps: float, dropping: bool, layout: Any
) -> None:
    toy = make_quadratic(count=30) if kind == "quadratic" else make_linear(count=30)
    model, images = toy.model, toy.images
    if kind == "steep":
        images[::2, 0, 0, 0] = 0
        images[::3, 0, 0, 1] = images[::3, 0, 0, 2]
        model = of_images(steep)
    elif kind == "sum":  # gradients are one number expanded to an image
        model = of_images(lambda x: torch.stack([x.flatten(1).sum(dim=1) - 24, 24 - x.flatten(1).sum(dim=1)], dim=1))
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    labels[::7] = (labels[::7] + 1) % 2
    images = images.contiguous(memory_format=layout)
    offsets = torch.rand(images.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    offsets[:, 0, 0, 1] = offsets[:, 0, 0, 2]
    eps *= 1 if norm == "linf" else 6
    threat, step = ThreatModel(norm, eps), eps / 4
    starts = threat.project(images + 0.2 * eps * offsets, images)
    batch = AscentBatch(images, Goal(labels, None), None)
    with frozen(model) as view:
        found = Ascent(view, threat, get_loss("ce"), STEPS, step, None, dropping).run(batch, starts)
        expected = plainly(view, threat, batch, starts, step, dropping=dropping)
        points = starts.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(get_loss("ce")(LossInputs(view.logits(points), labels)).sum(), points)
    assert 0 < int(expected["final_wrong"].sum()) < len(images)
    assert int((expected["first_step"] > 0).sum()) > 0
    assert bool(gradient.isnan().any() and gradient.isinf().any()) == (kind == "steep")
    for name, value in expected.columns.items():
        assert found[name].contiguous().numpy().tobytes() == value.contiguous().numpy().tobytes(), name
    assert torch.equal(batch.images, images)
