from __future__ import annotations

import inspect
import random
from typing import Any

import numpy as np
import pytest
import torch

from bench.attacks import run
from bench.attacks.frozen import frozen
from bench.attacks.library import ShiftedLogits, load
from bench.attacks.named import ATTACKS, named_attack

LIBRARY_ATTACKS = [name for name in ATTACKS.names() if "." in name]
FAST: dict[str, dict[str, Any]] = {
    "torchattacks.PGD": {},
    "torchattacks.CW": {"steps": 10, "c": 5.0},
    "torchattacks.APGD": {"steps": 10},
    "torchattacks.APGDT": {"steps": 5},
    "torchattacks.FAB": {"steps": 5},
    "torchattacks.FABT": {"steps": 5},
    "torchattacks.Square": {"n_queries": 50},
    "foolbox.LinfPGD": {"steps": 10},
    "foolbox.L2CarliniWagner": {"steps": 10, "binary_search_steps": 4},
}


def attack(name: str, toy: Any, **options: Any) -> Any:
    norm = named_attack(name).norms[0]
    eps = None if named_attack(name).minimises_norm else 0.03
    settings = {"norm": norm, "eps": eps, "seed": 0, **FAST[name], **options}
    return run(name, toy.model, toy.images, toy.labels, **settings)


@pytest.mark.parametrize("name", LIBRARY_ATTACKS)
def test_every_library_attack_finds_something_and_repeats_itself(make_linear: Any, name: str) -> None:
    toy = make_linear(count=24)
    first, again = attack(name, toy), attack(name, toy)
    assert first.success.any()
    assert first.adversarials.tobytes() == again.adversarials.tobytes()
    assert not (first.success & ~first.clean_correct).any()
    assert (first.margin_after[first.success] > 0).all()
    assert first.forwards[first.clean_correct].min() > 0
    assert first.definition.startswith(name)


@pytest.mark.parametrize("name", ["torchattacks.PGD", "torchattacks.APGD", "torchattacks.Square", "foolbox.LinfPGD"])
def test_the_seed_alone_decides_what_libraries_draw(convolutional: Any, name: str) -> None:
    images = []
    for seed, caller_state in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(caller_state)
        options: dict[str, Any] = {"n_queries": 20} if name.endswith("Square") else {"steps": 2}
        result = attack(name, convolutional, seed=seed, eps=0.3, **options)
        images.append(result.adversarials.tobytes())
    assert images[0] == images[1]
    assert images[0] != images[2]


@pytest.mark.parametrize("name", LIBRARY_ATTACKS)
def test_library_attacks_leave_no_trace(convolutional: Any, name: str) -> None:
    model = convolutional.model.train()
    model.body[1].eval()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    for fails in (False, True):
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        calls = 0

        def interrupt(*_: object, fails: bool = fails) -> None:
            nonlocal calls
            calls += 1
            if fails and calls == 4:  # judge, then inside the library
                raise KeyboardInterrupt

        handle = model.register_forward_hook(interrupt)
        if fails:
            with pytest.raises(KeyboardInterrupt):
                attack(name, convolutional)
        else:
            attack(name, convolutional)
        handle.remove()
        assert [module.training for module in (model, model.body[1], model.body[3])] == [True, False, True]
        assert all(p.requires_grad and p.grad is None for p in model.parameters())
        assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected  # noqa: NPY002


def test_own_pgd_equals_torchattacks_bit_by_bit_without_a_random_start(convolutional: Any) -> None:
    model, images = convolutional.model.eval(), convolutional.images
    toy = type(convolutional)(model, images, convolutional.labels)
    options = {"norm": "linf", "eps": "8/255", "seed": 0, "steps": 20, "random_start": False}
    own = run("pgd", model, images, toy.labels, loss="ce", **options)
    theirs = run("torchattacks.PGD", model, images, toy.labels, alpha="eps/30", **options)
    assert own.clean_correct.all()
    # Channels-last kernels may differ in the last bits of a gradient that is nearly zero: allow a few signs.
    equal = own.adversarials == theirs.adversarials
    assert equal.mean() > 0.999
    assert own.robust.tolist() == theirs.robust.tolist()


def test_own_pgd_equals_torchattacks_exactly_on_a_model_without_kernels_to_choose(make_linear: Any) -> None:
    toy = make_linear()
    options = {"norm": "linf", "eps": 0.02, "seed": 0, "steps": 20, "random_start": False, "batch_size": 64}
    own = run("pgd", toy.model, toy.images, toy.labels, loss="ce", **options)
    theirs = run("torchattacks.PGD", toy.model, toy.images, toy.labels, alpha="eps/30", **options)
    assert 0 < own.robust.sum() < own.clean_correct.sum()
    assert own.adversarials.tobytes() == theirs.adversarials.tobytes()


def test_the_three_pgds_agree_within_noise(make_linear: Any) -> None:
    toy = make_linear(count=300)
    options: dict[str, Any] = {"norm": "linf", "eps": 0.02, "seed": 0, "steps": 40}
    own = run("pgd", toy.model, toy.images, toy.labels, loss="ce", **options).robust
    assert 0.1 < own.mean() < 0.9
    for name, step in (
        ("torchattacks.PGD", {"alpha": "eps/30"}),
        ("foolbox.LinfPGD", {"rel_stepsize": 1 / 30}),
    ):
        other = run(name, toy.model, toy.images, toy.labels, **options, **step).robust
        # Same images: the difference has the variance of the discordant pairs.
        discordant = int((own != other).sum())
        assert abs(int(own.sum()) - int(other.sum())) <= 2 * np.sqrt(max(discordant, 1))
        assert discordant < 0.05 * len(own)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_shift_changes_no_difference_prediction_or_gradient(of_images: Any, classes: int) -> None:
    weights = torch.randn(classes, 12, generator=torch.Generator().manual_seed(0))
    model = of_images(lambda x: x.flatten(1) @ weights.T - 1000)
    images = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with frozen(model) as view:
        plain, shifted = model(images), ShiftedLogits(view, torch.device("cpu"))(images)
    assert (shifted > 0).all()
    assert torch.equal(plain.argmax(dim=1), shifted.argmax(dim=1))
    torch.testing.assert_close(plain - plain[:, :1], shifted - shifted[:, :1], atol=1e-3, rtol=0)
    for column in range(classes):
        one, other = (torch.autograd.grad(z[:, column].sum(), images, retain_graph=True)[0] for z in (plain, shifted))
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", LIBRARY_ATTACKS)
def test_a_constant_model_is_never_broken(of_images: Any, make_linear: Any, name: str) -> None:
    toy = make_linear(count=8)
    model = of_images(lambda x: torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(len(x), 1))
    result = attack(name, type(toy)(model, toy.images, torch.zeros(8, dtype=torch.int64)))
    assert result.robust.all()
    assert np.isinf(result.l2_with_failures).all()


@pytest.mark.parametrize("name", LIBRARY_ATTACKS)
def test_catalogue_parameters_are_the_constructors_own(name: str) -> None:
    package, _, attack_name = name.partition(".")
    path = {
        "LinfPGD": "attacks.LinfProjectedGradientDescentAttack",
        "L2CarliniWagner": "attacks.L2CarliniWagnerAttack",
        "FABT": "FAB",
    }.get(attack_name, attack_name)
    constructor: Any = load(package)
    for part in path.split("."):
        constructor = getattr(constructor, part)
    known = set(inspect.signature(constructor).parameters)
    harness = {"model", "eps", "norm", "seed", "verbose", "multi_targeted", "n_classes"}
    assert set(named_attack(name).parameters) - {"restarts", "n_target_classes"} == known - harness


def test_unknown_parameters_suggest_the_nearest(make_linear: Any) -> None:
    with pytest.raises(ValueError, match="'alpha_min'; did you mean 'alpha_max'"):
        attack("torchattacks.FAB", make_linear(), alpha_min=1)
    with pytest.raises(ValueError, match="restarts must be an integer >= 1"):
        attack("torchattacks.PGD", make_linear(), restarts=0)


def test_restarts_only_attack_the_survivors(make_linear: Any) -> None:
    toy = make_linear(count=128)
    one = attack("torchattacks.Square", toy, eps=0.02)
    three = attack("torchattacks.Square", toy, eps=0.02, restarts=3)
    assert not (three.robust & ~one.robust).any()
    assert three.robust.sum() < one.robust.sum()
    broken = one.success
    assert (three.adversarials[broken] == one.adversarials[broken]).all()


def test_l2_versions_stay_in_the_l2_ball(convolutional: Any) -> None:
    for name in ("torchattacks.APGD", "torchattacks.FAB", "torchattacks.Square"):
        result = attack(name, convolutional, norm="l2", eps=1.5)
        assert result.success.any()
        assert (result.l2[result.success] <= 1.5 * (1 + 1e-6) + 1e-7).all()


def test_targets_are_passed_on(make_linear: Any) -> None:
    toy = make_linear(count=48)
    targets = (toy.labels + 3) % 10
    for name in ("torchattacks.PGD", "foolbox.LinfPGD"):
        result = attack(name, toy, eps=0.2, targets=targets, **({"steps": 40} if "foolbox" in name else {}))
        assert result.success.any()
        assert (result.predictions[result.success] == targets.numpy()[result.success]).all()
    with pytest.raises(ValueError, match="takes no targets"):
        attack("torchattacks.APGD", toy, targets=targets)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("name", ["torchattacks.APGDT", "torchattacks.FABT"])
@pytest.mark.parametrize("classes", [4, 10, 12])
def test_targeted_members_reach_the_worst_case_of_a_linear_model(
    make_linear: Any, name: str, norm: str, dual: int, classes: int
) -> None:
    toy = make_linear(classes=classes, count=24)
    toy.images.mul_(0.2).add_(0.4)  # far from the borders of [0, 1], so that the closed form is exact
    with torch.no_grad():
        logits, weights = toy.model(toy.images), toy.model.weights
        toy.labels.copy_(logits.argmax(dim=1))
        margins = logits.gather(1, toy.labels[:, None]) - logits
        norms = torch.linalg.vector_norm(weights[toy.labels][:, None] - weights, ord=dual, dim=2)
        rival = torch.arange(classes) != toy.labels[:, None]
        smallest = torch.where(rival, margins / norms, torch.inf).amin(dim=1)
    eps = float(smallest.median())
    result = attack(name, toy, norm=norm, eps=eps, steps=100)
    assert not result.success[(smallest > eps).numpy()].any()
    assert result.success[(smallest < 0.97 * eps).numpy()].all()


def test_targeted_auto_pgd_says_that_it_needs_four_classes(make_linear: Any) -> None:
    with pytest.raises(ValueError, match="needs at least 4 classes for the targeted DLR loss, there are 3"):
        attack("torchattacks.APGDT", make_linear(classes=3))
