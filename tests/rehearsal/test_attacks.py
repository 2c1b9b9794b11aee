"""Every attack to its end on the device that is none: the verdicts of a CPU, and how often its steps wait."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from bench.attacks import eps_sweep, run
from bench.attacks.named import ATTACKS, OWN
from bench.attacks.waiting import CHECK_EVERY
from bench.family import Classifier
from tests.rehearsal.bounds import more_waits
from tests.rehearsal.device import DEVICE, rehearsed
from tests.rehearsal.log import SYNC, Log

SHORT: dict[str, dict[str, Any]] = {
    "cw_l2": {"steps": 4, "rounds": 2, "c0": 10.0},
    "noise": {"draws": 2},
    "adaptive_pgd": {"steps": 6, "step": 0.8, "restarts": 1, "rivals": 2},
    "transfer": {"steps": 4, "step": 1.0},
    "torchattacks.Square": {"n_queries": 12},
    "torchattacks.APGDT": {"steps": 4, "n_target_classes": 2},
    "torchattacks.FABT": {"steps": 3, "n_target_classes": 2},
    "foolbox.L2CarliniWagner": {"steps": 4, "binary_search_steps": 2},
}
EPS = {"linf": 0.1, "l2": 0.8}
CASES = [(attack.name, norm) for attack in OWN for norm in attack.norms]
Models, Pictures = Mapping[str, Classifier], tuple[Tensor, Tensor]


def attacked(name: str, norm: str, model: Any, pictures: Pictures, **params: Any) -> Any:
    attack = ATTACKS.get(name)
    eps = None if attack.minimises_norm else EPS[norm]
    surrogate = model if attack.needs_surrogate else None
    return run(name, model, *pictures, norm=norm, eps=eps, seed=0, surrogate=surrogate, **params)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_an_attack_gives_the_verdicts_of_a_cpu(models: Models, pictures: Pictures, name: str, norm: str) -> None:
    """Last bits may differ: images that wait for the next look make batches of another size, with other kernels."""
    params = SHORT.get(name, {"steps": 4})
    expected = attacked(name, norm, models["softmax"], pictures, **params)
    with rehearsed():
        found = attacked(name, norm, copy.deepcopy(models["softmax"]).to(DEVICE), pictures, **params)
    assert expected.clean_correct.any()
    for field in ("clean_correct", "success", "first_step", "forwards"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field), err_msg=field)
    np.testing.assert_allclose(found.adversarials, expected.adversarials, atol=1e-5)


def test_a_sweep_gives_the_verdicts_of_a_cpu(models: Models, pictures: Pictures) -> None:
    options: dict[str, Any] = {"norm": "linf", "eps": [0.02, 0.1, 0.3], "seed": 0, **SHORT["adaptive_pgd"]}
    expected = eps_sweep("adaptive_pgd", models["gmmc-gen"], *pictures, **options)
    with rehearsed():
        found = eps_sweep("adaptive_pgd", copy.deepcopy(models["gmmc-gen"]).to(DEVICE), *pictures, **options)
    np.testing.assert_array_equal(found.robust, expected.robust)


LONG: dict[str, dict[str, Any]] = {
    "pgd, final iterate": {"name": "pgd", "norm": "linf"},
    "pgd in L2": {"name": "pgd", "norm": "l2", "loss": "margin"},
    "pgd of centers": {"name": "pgd", "norm": "linf", "loss": "distance"},
    "pgd on survivors": {
        "name": "pgd",
        "norm": "linf",
        "iterate": "any",
        "survivors_only": True,
        "random_start": False,
        "step": "eps/10000",
    },
    "cw_l2 with patience": {"name": "cw_l2", "norm": "l2", "rounds": 1, "c0": 1e3},
}
LOOKS = {"pgd on survivors", "cw_l2 with patience"}


def steps_waited(case: str, model: Classifier, pictures: Pictures, few: int, many: int) -> int:
    """Synchronisations and copies of ``many - few`` steps."""
    options, images = dict(LONG[case]), pictures[0]
    labels = model.logits(images).argmax(dim=1)
    name, norm = options.pop("name"), options.pop("norm")
    with rehearsed():
        there = copy.deepcopy(model).to(DEVICE)

    def once(steps: int) -> Log:
        with rehearsed() as log:
            attacked(name, norm, there, (images, labels), steps=steps, **options)
        return log

    waits = more_waits(once, few, many)
    # The judge looks once more if the longer run broke an image, which no step pays for.
    found = Counter({event: n for event, n in waits.items() if not event.caller.startswith("bench/attacks/judge.py")})
    assert all(event.kind == SYNC for event in found), str(found)
    return found.total()


@pytest.mark.parametrize("case", LONG)
def test_the_steps_of_our_attacks_wait_at_looks_alone(
    models: Models, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr("bench.attacks.carlini_wagner.PATIENT_STEPS", 1)  # patience also in short runs
    steps = 3 * CHECK_EVERY
    waited = steps_waited(case, models["gmmc-gen"], pictures, CHECK_EVERY, CHECK_EVERY + steps)
    assert waited == (steps // CHECK_EVERY if case in LOOKS else 0)
