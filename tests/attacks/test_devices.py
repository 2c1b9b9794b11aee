"""Attacks where the model is: the same verdicts on a GPU. The CPU stands in the same tests, so that they are run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.attacks import CleanPass, eps_sweep, run
from bench.attacks.journal import Journal

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]
EPS = 0.02
EXACT: dict[str, dict[str, Any]] = {
    "pgd": {"loss": "margin-targeted", "steps": 10, "step": 0.5},
    "adaptive_pgd": {"losses": ("ce@T", "margin-targeted", "dlr"), "steps": 10, "step": 0.5, "restarts": 1},
}
"""Attacks that find all there is to find on a linear model."""


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", EXACT)
def test_verdicts_are_the_exact_ones(make_linear: Any, exact_linear_robustness: Any, name: str, device: str) -> None:
    toy = make_linear()
    model = copy.deepcopy(toy.model).to(device)
    result = run(name, model, toy.images, toy.labels, norm="linf", eps=EPS, seed=0, **EXACT[name])
    exact = exact_linear_robustness(toy, EPS)
    assert 0 < exact.sum() < len(exact)
    assert result.robust.tolist() == exact.tolist()


@pytest.mark.parametrize("device", DEVICES)
def test_a_sweep_is_exact(make_linear: Any, exact_linear_robustness: Any, device: str) -> None:
    toy = make_linear()
    model = copy.deepcopy(toy.model).to(device)
    options = {**EXACT["adaptive_pgd"], "norm": "linf", "seed": 0}
    sweep = eps_sweep("adaptive_pgd", model, toy.images, toy.labels, eps=[0.01, EPS, 0.05], **options)
    for eps, robust in zip(sweep.eps, sweep.robust, strict=True):
        assert robust.tolist() == exact_linear_robustness(toy, eps).tolist()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("pgd", {"norm": "linf", "eps": EPS, "loss": "distance-targeted", "rivals": 2, "steps": 5}),
        ("pgd", {"norm": "l2", "eps": 0.3, "loss": "ce", "steps": 5, "step": 0.3}),
        ("cw_l2", {"norm": "l2", "steps": 40, "rounds": 3, "c0": 1.0}),
        ("noise", {"norm": "linf", "eps": EPS, "draws": 3}),
        ("torchattacks.PGD", {"norm": "linf", "eps": EPS, "steps": 5}),
        ("torchattacks.Square", {"norm": "linf", "eps": 0.1, "n_queries": 50}),
        ("foolbox.LinfPGD", {"norm": "linf", "eps": EPS, "steps": 5}),
    ],
)
def test_a_device_changes_few_verdicts(make_quadratic: Any, name: str, options: dict[str, Any], device: str) -> None:
    """Last bits differ and may turn an image on the decision. Library noise is drawn on the device: another start."""
    toy = make_quadratic()
    expected = run(name, toy.model, toy.images, toy.labels, seed=0, **options)
    found = run(name, copy.deepcopy(toy.model).to(device), toy.images, toy.labels, seed=0, **options)
    assert found.clean_correct.tolist() == expected.clean_correct.tolist()
    assert found.valid.all() or "." in name
    assert (found.success != expected.success).mean() <= (0.2 if "." in name else 0.05)
    both = found.success & expected.success
    if name == "cw_l2":
        assert both.sum() > len(both) / 2
        np.testing.assert_allclose(found.l2[both], expected.l2[both], rtol=0.02)


@pytest.mark.parametrize("device", DEVICES)
def test_transfer_journal_and_clean_pass_work_there(make_linear: Any, tmp_path: Path, device: str) -> None:
    toy, other = make_linear(), make_linear(seed=3)
    model, source = (copy.deepcopy(each.model).to(device) for each in (toy, other))
    clean = CleanPass(model, 16)
    common: dict[str, Any] = {
        "norm": "linf",
        "eps": 0.2,
        "seed": 0,
        "steps": 5,
        "step": 1.0,
        "batch_size": 16,
        "clean": clean,
    }
    options = common | {"journal": Journal(tmp_path)}
    for surrogate, name in ((source, "transfer"), (None, "pgd")):
        first, again = (run(name, model, toy.images, toy.labels, surrogate=surrogate, **options) for _ in range(2))
        np.testing.assert_array_equal(first.adversarials, again.adversarials)
        np.testing.assert_array_equal(first.robust, again.robust)
        assert first.success.any()
    assert next(model.parameters()).device.type == device
