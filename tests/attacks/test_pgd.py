from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.attacks import run
from bench.attacks.diagnostics import gradient_flag, loss_gap_flag
from bench.attacks.verdict import verdict

EPS = 0.05


def attack(toy: Any, **options: Any) -> Any:
    settings = {"norm": "linf", "eps": EPS, "seed": 0, "step": 0.1, **options}
    return run("pgd", toy.model, toy.images, toy.labels, **settings)


@pytest.mark.parametrize("eps", [0.01, 0.02, 0.03, 0.05])
def test_targeted_margin_equals_the_exact_robustness_of_a_linear_model(
    make_linear: Any, exact_linear_robustness: Any, eps: float
) -> None:
    toy = make_linear()
    exact = exact_linear_robustness(toy, eps)
    assert 0 < exact.mean() < 0.9  # the oracle must decide something
    result = attack(toy, eps=eps, loss="margin-targeted", steps=25)
    assert result.robust.tolist() == exact.tolist()


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr", "ce@5"])
def test_no_loss_is_stronger_than_the_exact_attack(make_linear: Any, exact_linear_robustness: Any, loss: str) -> None:
    toy = make_linear()
    exact = exact_linear_robustness(toy, 0.02)
    assert not (exact & ~attack(toy, eps=0.02, loss=loss, restarts=2).robust).any()


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_two_classes_are_attacked_exactly_by_any_loss(
    make_linear: Any, exact_linear_robustness: Any, loss: str
) -> None:
    toy = make_linear(classes=2, count=200)
    exact = exact_linear_robustness(toy, 0.05)
    assert 0.1 < exact.mean() < 0.9
    assert attack(toy, eps=0.05, loss=loss, steps=25).robust.tolist() == exact.tolist()


def test_l2_reaches_the_exact_radius_of_quadratic_classes(make_quadratic: Any) -> None:
    # min over rivals k of (d_k^2 - d_y^2) / (2 ||mu_k - mu_y||): distance to the nearest bisecting plane.
    toy = make_quadratic()
    centers, flat = toy.model.centers.detach().double(), toy.images.flatten(1).double()
    squared = (flat[:, None] - centers).square().sum(dim=2)
    own = squared.gather(1, toy.labels[:, None])
    gaps = (centers[toy.labels][:, None] - centers).norm(dim=2)
    radii = ((squared - own) / (2 * gaps)).scatter(1, toy.labels[:, None], torch.inf).amin(dim=1).numpy()
    eps = float(np.median(radii)) + 1e-4
    result = attack(toy, norm="l2", eps=eps, loss="margin-targeted", steps=30)
    clear = np.abs(radii - eps) > 0.01 * eps
    assert result.robust[clear].tolist() == (radii > eps)[clear].tolist()
    assert (result.l2 <= eps + 1e-6).all()
    other = attack(toy, norm="l2", eps=eps, loss="distance-targeted", steps=30)
    assert not (~other.robust & (radii > 1.01 * eps)).any()


def test_distance_to_every_rival_beats_fleeing_from_the_own_center(make_quadratic: Any) -> None:
    toy = make_quadratic()
    away = attack(toy, eps=0.15, loss="distance")
    towards = attack(toy, eps=0.15, loss="distance-targeted")
    assert towards.robust_accuracy < away.robust_accuracy


def test_sharp_logits_mask_the_cross_entropy(make_linear: Any, exact_linear_robustness: Any) -> None:
    toy = make_linear(count=400)
    with torch.no_grad():
        top = toy.model(toy.images).topk(2, dim=1).values
    # Breakable by the exact attack, but not by the noise of the start.
    clear = (top[:, 0] - top[:, 1] > 1.5) & ~torch.from_numpy(exact_linear_robustness(toy, 0.1))
    toy = type(toy)(toy.model, toy.images[clear], toy.labels[clear])
    assert len(toy.labels) > 50
    plain = attack(toy, loss="ce", eps=0.1)
    assert plain.robust_accuracy < 0.05
    assert plain.health.zero_gradient_share == 0
    toy.model.scale = 1000.0
    masked = attack(toy, loss="ce", eps=0.1)
    assert masked.robust_accuracy > masked.clean_accuracy - 0.1
    assert masked.health.zero_gradient_share > 0.8
    assert masked.health.certain_share > 0.8
    margin = attack(toy, loss="margin", eps=0.1, steps=100)
    assert attack(toy, loss="margin-targeted", eps=0.1).robust_accuracy == 0
    assert margin.robust_accuracy < 0.05
    flags = [
        gradient_flag(masked.health.zero_gradient_share, masked.health.certain_share),
        loss_gap_flag(masked.robust, {"margin": margin.robust}),
    ]
    assert verdict(flags).word == "masked"
    assert verdict(flags).raised == ("GRAD0", "LOSSGAP")
    sound = [
        gradient_flag(plain.health.zero_gradient_share, plain.health.certain_share),
        loss_gap_flag(plain.robust, {"margin": margin.robust}),
    ]
    assert "GRAD0" not in verdict(sound).raised


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 1.5),
    st.sampled_from(["linf", "l2"]),
    st.sampled_from(["ce", "margin"]),
    st.integers(0, 2**40),
    st.floats(0.01, 3),
    st.sampled_from(["final", "any"]),
)
def test_iterates_stay_in_ball_and_box(eps: float, norm: str, loss: str, seed: int, step: float, iterate: str) -> None:
    # The judge raises if they do not; bounds are checked here again on what comes out.
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images = torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(seed % 1000))
    images[0], images[1] = 0, 1
    labels = model(images).argmax(dim=1)
    options: dict[str, Any] = {"loss": loss, "step": step, "iterate": iterate, "steps": 4}
    result = run("pgd", model, images, labels, norm=norm, eps=eps, seed=seed, **options)  # type: ignore[arg-type]
    assert ((result.adversarials >= 0) & (result.adversarials <= 1)).all()
    difference = (result.adversarials.astype(np.float64) - images.numpy()).reshape(6, -1)
    norms = np.abs(difference).max(axis=1) if norm == "linf" else np.linalg.norm(difference, axis=1)
    assert (norms <= eps * (1 + 1e-6) + 1e-7).all()


def test_eps_zero_leaves_the_clean_accuracy(make_linear: Any) -> None:
    toy = make_linear()
    result = attack(toy, eps=0)
    assert result.robust.tolist() == result.clean_correct.tolist()
    assert 0 < result.clean_accuracy < 1
    assert not result.linf.any()


def test_restarts_and_any_iterate_never_help_the_defender(make_linear: Any) -> None:
    toy = make_linear(count=256)
    found = []
    for loss in ("ce", "margin"):
        for iterate in ("final", "any"):
            one, four = (
                attack(toy, eps=0.02, loss=loss, iterate=iterate, restarts=restarts, steps=8, step=0.4)
                for restarts in (1, 4)
            )
            assert not (four.robust & ~one.robust).any()
            found.append(one.robust.sum() - four.robust.sum())
        final = attack(toy, eps=0.02, loss=loss, steps=8, step=0.4)
        assert not (final.success_final & ~final.success_any).any()
    assert sum(found) > 0  # the extra restarts did something


def shell(images: torch.Tensor) -> torch.Tensor:
    """Class 1 only while the mean is within .01 of .522."""
    distance = (images.flatten(1).mean(dim=1) - 0.522).abs()
    return torch.stack([distance, torch.full_like(distance, 0.01)], dim=1)


def test_final_and_any_iterate_differ_where_the_last_step_leaves_again(of_images: Any) -> None:
    # Steps of .02 from .5 are inside the shell at every odd iterate.
    images, labels = torch.full((3, 1, 2, 2), 0.5), torch.tensor([0, 0, 0])
    options: dict[str, Any] = {"norm": "linf", "eps": 0.05, "seed": 0, "step": "0.02", "random_start": False}
    for steps, last_is_wrong in ((7, True), (8, False)):
        final, any_ = (
            run("pgd", of_images(shell), images, labels, steps=steps, iterate=iterate, **options)
            for iterate in ("final", "any")
        )
        assert (final.success == last_is_wrong).all()
        assert any_.success.all()
        for result in (final, any_):
            assert result.success_final is not None
            assert result.success_any is not None
            assert (result.success_final == last_is_wrong).all()
            assert result.success_any.all()
            assert (result.first_step == 1).all()
        assert any_.adversarials.mean() == pytest.approx(0.52)
        assert final.adversarials.mean() == pytest.approx(0.52 if last_is_wrong else 0.54)


def test_later_restarts_still_attack_images_whose_final_iterate_survived(of_images: Any) -> None:
    # One pixel: whether the last iterate is inside the shell depends on the start, and so on the restart.
    images, labels = torch.full((200, 1, 1, 1), 0.5), torch.zeros(200, dtype=torch.int64)
    options: dict[str, Any] = {"norm": "linf", "eps": 0.05, "seed": 0, "step": "0.02", "steps": 8}
    one, six = (run("pgd", of_images(shell), images, labels, restarts=n, **options) for n in (1, 6))
    left_again = one.success_any & ~one.success_final
    assert left_again.sum() > 20
    assert (six.forwards[left_again] > one.forwards[left_again]).all()
    assert (six.success_final & left_again).any()
    assert not (one.success_final & ~six.success_final).any()
    settled = one.success_final
    assert (six.forwards[settled] == one.forwards[settled]).all()
    assert (six.adversarials[settled] == one.adversarials[settled]).all()
    # What broke an image first stays on record, whatever later restarts find.
    assert (six.first_step[one.success_any] == one.first_step[one.success_any]).all()


def test_survivors_only_gives_the_same_verdicts_for_less(make_linear: Any) -> None:
    toy = make_linear()
    everything = attack(toy, iterate="any")
    survivors = attack(toy, iterate="any", survivors_only=True)
    assert survivors.robust.tolist() == everything.robust.tolist()
    assert survivors.first_step.tolist() == everything.first_step.tolist()
    assert survivors.adversarials[survivors.success].tobytes() == everything.adversarials[everything.success].tobytes()
    assert survivors.success_final is None
    attacked = survivors.clean_correct
    broken = survivors.success
    assert (everything.forwards[attacked] == 41).all()
    assert (survivors.forwards[broken] == survivors.first_step[broken] + 1).all()
    assert (survivors.forwards[~attacked] == 0).all()
    with pytest.raises(ValueError, match="needs iterate = 'any'"):
        attack(toy, survivors_only=True)


def test_the_first_step_is_the_first_wrong_iterate(make_linear: Any) -> None:
    toy = make_linear()
    result = attack(toy, random_start=False, steps=12)
    for steps in (3, 6):
        shorter = attack(toy, random_start=False, steps=steps)
        expected = np.where(result.first_step <= steps, result.first_step, -1)
        assert shorter.first_step.tolist() == expected.tolist()
    assert (result.first_step[result.success_any] >= 1).all()  # the clean image itself is not wrong


def test_equal_seeds_give_equal_bytes(convolutional: Any) -> None:
    first, again = (attack(convolutional, seed=7) for _ in range(2))
    other = attack(convolutional, seed=8)
    assert first.adversarials.tobytes() == again.adversarials.tobytes()
    assert first.loss.tobytes() == again.loss.tobytes()
    assert first.adversarials.tobytes() != other.adversarials.tobytes()


@pytest.mark.parametrize("options", [{}, {"iterate": "any", "survivors_only": True}, {"norm": "l2", "eps": 0.5}])
def test_batching_and_order_do_not_matter(convolutional: Any, options: dict[str, Any]) -> None:
    model, images = convolutional.model.double(), convolutional.images.double()
    toy = type(convolutional)(model, images, convolutional.labels)
    options = {"loss": "margin", "steps": 15, "restarts": 2, **options}
    whole, parts = (attack(toy, batch_size=size, **options) for size in (32, 5))
    assert parts.robust.tolist() == whole.robust.tolist()
    np.testing.assert_allclose(parts.adversarials, whole.adversarials, atol=1e-9)
    # A loss averaged over the batch would have gradients that shrink with it.
    np.testing.assert_allclose(parts.health.start_gradient, whole.health.start_gradient, rtol=1e-6)
    np.testing.assert_allclose(parts.loss, whole.loss, rtol=1e-6)
    order = np.random.default_rng(0).permutation(32)
    shuffled = type(toy)(model, images[order], toy.labels[order])
    mixed = attack(shuffled, batch_size=7, ids=order, **options)
    assert mixed.robust.tolist() == whole.robust[order].tolist()
    np.testing.assert_allclose(mixed.adversarials, whole.adversarials[order], atol=1e-9)


def test_targets_must_be_reached(make_linear: Any) -> None:
    toy = make_linear()
    targets = (toy.labels + 1) % 10
    hit = attack(toy, eps=0.05, loss="margin", targets=targets)
    assert (hit.predictions[hit.success] == targets.numpy()[hit.success]).all()
    untargeted = attack(toy, eps=0.05, loss="margin-targeted")
    assert not (hit.success & ~untargeted.success).any()
    assert 0 < hit.success.sum() < untargeted.success.sum()


def test_top_rivals_are_those_with_the_largest_logits(make_linear: Any) -> None:
    toy = make_linear()
    one = attack(toy, eps=0.02, loss="margin-targeted", rivals=1, iterate="any")
    every = attack(toy, eps=0.02, loss="margin-targeted", iterate="any")
    assert one.forwards.sum() < every.forwards.sum()
    assert not (one.success & ~every.success).any()
    with torch.no_grad():
        runner_up = toy.model(toy.images).topk(2, dim=1).indices[:, 1].numpy()
    correct = one.clean_correct
    given = attack(
        toy, eps=0.02, loss="margin-targeted", iterate="any", targets=torch.where(
            torch.from_numpy(correct), torch.from_numpy(runner_up), (toy.labels + 1) % 10)
    )  # fmt: skip
    assert (one.loss[correct] == given.loss[correct]).all()


def test_a_constant_model_is_robust_and_flagged(of_images: Any, make_linear: Any) -> None:
    images = make_linear().images
    model = of_images(lambda x: torch.tensor([[1.0, 0.0]]).repeat(len(x), 1))
    result = run("pgd", model, images, torch.zeros(64, dtype=torch.int64), norm="linf", eps=0.1, seed=0)
    assert result.robust.all()
    assert result.health.zero_gradient_share == 1


def test_nan_beyond_a_radius_is_no_success(of_images: Any) -> None:
    images = torch.full((4, 1, 2, 2), 0.5)

    def function(x: torch.Tensor) -> torch.Tensor:
        distance = (x - 0.5).flatten(1).abs().amax(dim=1, keepdim=True)
        logits = torch.cat([1 - distance, distance], dim=1)
        return torch.where(distance > 0.05, torch.nan, logits)

    labels = torch.zeros(4, dtype=torch.int64)
    result = run("pgd", of_images(function), images, labels, norm="linf", eps=0.1, seed=0)
    assert not result.success.any()
    assert np.isfinite(result.adversarials).all()
    assert not result.valid.all()


def test_the_definition_is_derived(make_linear: Any) -> None:
    toy = make_linear(count=8)
    options: dict[str, Any] = {"norm": "linf", "eps": "8/255", "seed": 0}
    paper = run("pgd", toy.model, toy.images, toy.labels, **options)
    assert paper.definition == "pgd-linf[40, 8/255, step=eps/30, ce, final iterate, 1 restart]"
    other = run(
        "pgd", toy.model, toy.images, toy.labels, **options, loss="margin-targeted", rivals=3, restarts=5,
        step="2/255", steps=10, random_start=False, iterate="any", survivors_only=True,
    )  # fmt: skip
    assert other.definition == (
        "pgd-linf[10, 8/255, step=2/255, margin-targeted, top 3 rivals, any iterate, 5 restarts, "
        "start at the image, survivors only]"
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": 0}, "steps must be an integer >= 1"),
        ({"steps": True}, "steps must be an integer >= 1"),
        ({"restarts": 1.5}, "restarts must be an integer"),
        ({"random_start": "yes"}, "random_start must be true or false"),
        ({"iterate": "best"}, "iterate must be 'final' or 'any'"),
        ({"step": None}, "step must be"),
        ({"loss": "dlr", "targets": torch.ones(8, dtype=torch.int64)}, "no targeted form"),
        ({"rivals": 3}, "rivals has no meaning for loss 'ce'"),
        ({"stpes": 3}, "did you mean 'steps'"),
    ],
)
def test_wrong_parameters_fail_before_any_computation(params: dict[str, Any], message: str) -> None:
    class Untouchable(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise AssertionError("computed")

    with pytest.raises(ValueError, match=message):
        run("pgd", Untouchable(), torch.zeros(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64), norm="linf",
            eps=0.1, seed=0, **params)  # fmt: skip
