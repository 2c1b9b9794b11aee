"""The attack ``cw_l2`` against closed forms, against foolbox, and against models that fool libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.attacks import run


def attack(toy: Any, **options: Any) -> Any:
    return run("cw_l2", toy.model, toy.images, toy.labels, **{"norm": "l2", "seed": 0, **options})


def foolbox(toy: Any, **options: Any) -> Any:
    return run("foolbox.L2CarliniWagner", toy.model, toy.images, toy.labels, norm="l2", seed=0, **options)


def exact_linear(toy: Any) -> np.ndarray:
    """Smallest L2 norm with the box, (N,): for each rival the multiplier l with <clip(x + l a) - x, a> = gap."""
    weights, bias = toy.model.weights.detach().double(), toy.model.bias.detach().double()
    flat = toy.images.flatten(1).double()
    smallest = torch.full((len(flat),), torch.inf, dtype=torch.float64)
    for rival in range(len(weights)):
        direction = weights[rival] - weights[toy.labels]
        gap = -((flat * direction).sum(dim=1) + bias[rival] - bias[toy.labels])
        low, high = torch.zeros(len(flat), 1, dtype=torch.float64), torch.full((len(flat), 1), 1e3, dtype=torch.float64)

        def moved(multiplier: torch.Tensor, along: torch.Tensor = direction) -> torch.Tensor:
            return (flat + multiplier * along).clamp(0, 1) - flat

        possible = (moved(high) * direction).sum(dim=1) >= gap
        for _ in range(80):
            middle = (low + high) / 2
            enough = ((moved(middle) * direction).sum(dim=1) >= gap)[:, None]
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        norm = moved(high).norm(dim=1)
        smallest = torch.where(possible & (toy.labels != rival), torch.minimum(smallest, norm), smallest)
    return smallest.numpy()


def exact_quadratic(toy: Any) -> np.ndarray:
    """Distance to the nearest bisecting plane between centers (interior images)."""
    centers, flat = toy.model.centers.detach().double(), toy.images.flatten(1).double()
    squared = (flat[:, None] - centers).square().sum(dim=2)
    own = squared.gather(1, toy.labels[:, None])
    radii = (squared - own) / (2 * (centers[toy.labels][:, None] - centers).norm(dim=2))
    return radii.scatter(1, toy.labels[:, None], torch.inf).amin(dim=1).numpy()


def saturated(toy: Any) -> Any:
    images = toy.images.round()
    with torch.no_grad():
        return type(toy)(toy.model, images, toy.model(images).argmax(dim=1))


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_norms_of_a_linear_model_are_the_smallest_within_three_percent(make_linear: Any, scale: float) -> None:
    toy = make_linear(scale=scale)
    result, exact = attack(toy), exact_linear(toy)
    solved = result.success
    assert solved.tolist() == result.clean_correct.tolist()
    assert (result.l2[solved] >= exact[solved] * (1 - 1e-5)).all()
    assert result.l2[solved].mean() <= 1.03 * exact[solved].mean()


def test_norms_of_a_quadratic_model_are_the_smallest_within_three_percent(make_quadratic: Any) -> None:
    """Logits are never positive: the attack that masks by multiplication does nothing here."""
    toy = make_quadratic()
    result, exact = attack(toy), exact_quadratic(toy)
    assert result.success.all()
    assert (result.l2 >= exact * (1 - 1e-5)).all()
    assert result.l2.mean() <= 1.03 * exact.mean()


def test_pixels_of_exactly_zero_and_one_move(make_linear: Any) -> None:
    toy = saturated(make_linear(count=24))
    result, exact = attack(toy), exact_linear(toy)
    assert result.success.all()
    assert (result.l2 >= exact * (1 - 1e-5)).all()
    assert result.l2.mean() <= 1.03 * exact.mean()
    assert not foolbox(toy, steps=100).success.any()  # at the published range they are out of reach in 100 steps


def test_one_round_agrees_with_one_round_of_foolbox(make_linear: Any, make_quadratic: Any) -> None:
    for toy in (make_linear(count=32), make_quadratic(count=16)):
        own = attack(toy, rounds=1, c0=1.0)
        theirs = foolbox(toy, steps=100, binary_search_steps=1, initial_const=1.0)
        both = own.success & theirs.success
        assert both.sum() >= 0.9 * max(own.success.sum(), theirs.success.sum())
        assert own.l2[both].mean() == pytest.approx(theirs.l2[both].mean(), rel=0.03)


def never_above_foolbox(toy: Any, **options: Any) -> None:
    own, theirs = attack(toy, **options), foolbox(toy, **options, initial_const=0.01)
    assert own.success.sum() >= theirs.success.sum()
    both = own.success & theirs.success
    differences = own.l2[both] - theirs.l2[both]
    assert differences.mean() <= 2 * differences.std(ddof=1) / np.sqrt(both.sum())


def test_norms_are_not_above_those_of_foolbox(make_linear: Any, make_quadratic: Any) -> None:
    for toy in (make_linear(count=24, seed=0), make_linear(count=24, seed=3), make_quadratic(count=16)):
        never_above_foolbox(toy, steps=50)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_norms_are_not_above_those_of_foolbox_over_seeds(make_linear: Any, convolutional: Any, seed: int) -> None:
    never_above_foolbox(make_linear(seed=seed), steps=100)
    torch.manual_seed(seed)
    for parameter in convolutional.model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        labels = convolutional.model.eval()(convolutional.images).argmax(dim=1)
    never_above_foolbox(type(convolutional)(convolutional.model, convolutional.images, labels), steps=100)


def test_neither_shifted_logits_nor_their_sign_matter(make_linear: Any) -> None:
    toy = make_linear(count=12)
    plain = attack(toy, steps=50, rounds=4)
    with torch.no_grad():
        toy.model.bias -= 100
    shifted = attack(toy, steps=50, rounds=4)
    assert plain.success.tolist() == shifted.success.tolist()
    np.testing.assert_allclose(plain.l2, shifted.l2, atol=1e-3)


def test_targets_are_reached_and_cost_no_less_than_any_class(make_quadratic: Any) -> None:
    toy = make_quadratic(count=10)
    targets = (toy.labels + 4) % 10
    result, untargeted = attack(toy, targets=targets), attack(toy)
    assert result.success.all()
    assert (result.predictions == targets.numpy()).all()
    assert result.l2.mean() > untargeted.l2.mean()
    assert (result.l2 >= exact_quadratic(toy) * (1 - 1e-5)).all()
    nearest = torch.from_numpy(untargeted.predictions)
    np.testing.assert_allclose(attack(toy, targets=nearest).l2, untargeted.l2, rtol=0.05)


@pytest.mark.parametrize("targeted", [False, True])
def test_no_image_depends_on_its_neighbours(make_quadratic: Any, targeted: bool) -> None:
    toy = make_quadratic(count=12)
    model, images = toy.model.double(), toy.images.double()
    toy = type(toy)(model, images, toy.labels)
    targets = (toy.labels + 1) % 10 if targeted else None
    options: dict[str, Any] = {"steps": 40, "rounds": 4, "c0": 1.0}
    whole = attack(toy, targets=targets, **options)
    parts = attack(toy, targets=targets, batch_size=5, **options)
    assert whole.success.any()
    assert parts.success.tolist() == whole.success.tolist()
    np.testing.assert_allclose(parts.adversarials, whole.adversarials, atol=1e-9)
    order = np.random.default_rng(0).permutation(12)
    shuffled = type(toy)(model, images[order], toy.labels[order])
    mixed = attack(shuffled, batch_size=7, ids=order, targets=None if targets is None else targets[order], **options)
    np.testing.assert_allclose(mixed.adversarials, whole.adversarials[order], atol=1e-9)
    alone = type(toy)(model, images[3:4], toy.labels[3:4])
    single = attack(alone, targets=None if targets is None else targets[3:4], **options)
    np.testing.assert_allclose(single.adversarials, whole.adversarials[3:4], atol=1e-9)


def test_equal_runs_give_equal_bytes(convolutional: Any) -> None:
    first, again = (attack(convolutional, steps=20, rounds=3) for _ in range(2))
    assert first.adversarials.tobytes() == again.adversarials.tobytes()


def test_patience_saves_most_passes_and_hardly_any_norm(make_quadratic: Any) -> None:
    toy = make_quadratic(count=12)
    patient, endless = attack(toy, steps=400, rounds=4), attack(toy, steps=400, rounds=4, patience=None)
    assert (endless.forwards == 1600).all()
    assert patient.forwards.mean() < 0.6 * endless.forwards.mean()
    assert patient.success.all()
    assert patient.l2.mean() <= 1.005 * endless.l2.mean()
    short = attack(toy, steps=100, rounds=2)
    assert (short.forwards == 200).all()
    assert "patience" not in short.definition
    assert "patience 50" in patient.definition


def test_a_constant_model_is_never_broken(of_images: Any, make_linear: Any) -> None:
    images = make_linear(count=8).images
    model = of_images(lambda x: torch.tensor([[1.0, 0.0, 0.0]]).repeat(len(x), 1))
    result = run("cw_l2", model, images, torch.zeros(8, dtype=torch.int64), norm="l2", seed=0, steps=5)
    assert result.robust.all()
    assert np.isinf(result.l2_with_failures).all()
    assert (result.adversarials == images.numpy()).all()
    assert result.health.zero_gradient_share == 1


def test_a_black_image_with_another_class_is_found_only_by_going_there(of_images: Any) -> None:
    """Nothing leads to black, so nothing is found, and no all-zero output is taken for a success."""

    def trap(images: torch.Tensor) -> torch.Tensor:
        mean = images.flatten(1).mean(dim=1)
        return torch.stack([torch.ones_like(mean), torch.where(mean < 1e-3, 2.0, 0.0)], dim=1)

    images, labels = torch.full((4, 1, 4, 4), 0.5), torch.zeros(4, dtype=torch.int64)
    result = run("cw_l2", of_images(trap), images, labels, norm="l2", seed=0, steps=5)
    assert not result.success.any()
    assert (result.adversarials == images.numpy()).all()


def test_nan_beyond_a_radius_is_no_success(of_images: Any) -> None:
    images = torch.full((4, 1, 2, 2), 0.5)

    def function(x: torch.Tensor) -> torch.Tensor:
        distance = (x - 0.5).flatten(1).abs().amax(dim=1, keepdim=True)
        return torch.where(distance > 0.05, torch.nan, torch.cat([1 - x.flatten(1)[:, :1], x.flatten(1)[:, :1]], dim=1))

    labels = function(images).argmax(dim=1)
    result = run(
        "cw_l2", of_images(lambda x: function(x) + torch.tensor([0.4, 0.0])), images, labels, norm="l2", seed=0
    )
    assert not result.success.any()
    assert np.isfinite(result.adversarials).all()


def test_a_budget_keeps_the_successes_within_it(make_quadratic: Any) -> None:
    toy = make_quadratic(count=10)
    free = attack(toy)
    bound = float(np.median(free.l2))
    bounded = attack(toy, eps=bound)
    assert bounded.success.tolist() == (free.l2 <= bound).tolist()
    assert (bounded.l2 <= bound * (1 + 1e-6)).all()


def test_kappa_asks_for_a_margin(make_linear: Any) -> None:
    toy = make_linear()
    plain, safe = attack(toy), attack(toy, kappa=2.0)
    assert (safe.margin_after[safe.success] >= 2.0 - 1e-4).all()
    assert safe.l2[safe.success].mean() > plain.l2[safe.success].mean()


def test_the_model_is_given_back_as_it_was(convolutional: Any) -> None:
    model = convolutional.model.train()
    model.body[1].eval()
    state = torch.get_rng_state()
    attack(convolutional, steps=3, rounds=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in (model, model.body[1], model.body[3])] == [True, False, True]
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_the_definition_is_derived(make_quadratic: Any) -> None:
    toy = make_quadratic(count=2)
    assert attack(toy, steps=3).definition == (
        "cw-l2[3 x 9 rounds, c0=0.01, kappa=0, lr=0.01, untargeted, x = 1/2 + tanh(w)/1.9, "
        "smallest success of each image]"
    )
    targeted = attack(toy, steps=3, eps="0.5", rounds=2, targets=(toy.labels + 1) % 10).definition
    assert "given targets, within 0.5" in targeted


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"c0": 0.0}, "c0 must be a number > 0"),
        ({"lr": "1"}, "lr must be a number > 0"),
        ({"kappa": -1.0}, "kappa must be a number from 0 to"),
        ({"rounds": 0}, "rounds must be an integer >= 1"),
        ({"patience": 10}, "patience must be an integer >= 50"),
        ({"steps": 10, "patience": 10}, "patience must be an integer >= 50"),
        ({"c": 1.0}, "no parameter 'c'"),
        ({"norm": "linf"}, "knows norm l2"),
        ({"starts": torch.zeros(2, 3, 4, 4)}, "takes no starts"),
    ],
)
def test_wrong_parameters_are_refused(make_quadratic: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(make_quadratic(count=2), **params)
