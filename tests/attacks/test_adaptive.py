"""The attack ``adaptive_pgd``: as strong as the exact attack where there is one, and honest about who won."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bench.attacks import run
from bench.attacks.adaptive import temperature


def attack(toy: Any, **options: Any) -> Any:
    settings = {"norm": "linf", "eps": 0.03, "seed": 0, "steps": 16, "step": 0.25, "restarts": 2, **options}
    return run("adaptive_pgd", toy.model, toy.images, toy.labels, **settings)


@pytest.mark.parametrize("eps", [0.01, 0.02, 0.04])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_a_linear_model_is_as_robust_as_it_exactly_is(
    make_linear: Any, exact_linear_robustness: Any, eps: float, scale: float
) -> None:
    toy = make_linear(scale=scale)
    exact = exact_linear_robustness(toy, eps)
    assert 0 < exact.mean() < 0.9
    assert attack(toy, eps=eps, restarts=1).robust.tolist() == exact.tolist()


def test_sharp_logits_fool_cross_entropy_and_not_this(make_linear: Any, exact_linear_robustness: Any) -> None:
    toy = make_linear(scale=1000.0)
    settings: dict[str, Any] = {"norm": "linf", "eps": 0.1, "seed": 0, "iterate": "any", "steps": 20, "step": 0.1}
    ce = run("pgd", toy.model, toy.images, toy.labels, **settings)
    adaptive = attack(toy, eps=0.1)
    assert not exact_linear_robustness(toy, 0.1).any()
    assert ce.robust_accuracy > 0.3
    assert adaptive.robust_accuracy == 0
    assert adaptive.composition.facts["ce@T"]["zero_gradient_share"] == 0


def test_the_temperature_follows_the_scale_of_the_logits(make_linear: Any) -> None:
    assert temperature(np.array([11.0, 5.5, 1.0])) == 1.0
    assert temperature(np.array([1100.0, 550.0, 100.0])) == 100.0
    assert temperature(np.zeros(3)) == 1.0
    small, large = (
        attack(make_linear(scale=scale, count=40), steps=2, step=2.0).composition.facts["ce@T"]["T"]
        for scale in (1.0, 100.0)
    )
    assert large == pytest.approx(100 * small, rel=0.02)
    toy = make_linear(count=40)
    with torch.no_grad():
        logits = toy.model(toy.images)
    top = logits.topk(2, dim=1).values
    correct = logits.argmax(dim=1) == toy.labels
    gap = float(np.median((top[:, 0] - top[:, 1])[correct].numpy()))
    assert small == pytest.approx(gap / 5.5, rel=0.01)


def test_winners_and_robust_images_fit_together(make_quadratic: Any) -> None:
    toy = make_quadratic()
    result = attack(toy, eps=0.16, restarts=2)
    composition = result.composition
    assert composition.members == ("ce@T", "margin", "margin-targeted", "distance-targeted", "dlr")
    broken = composition.broken_at >= 0
    assert (composition.tried | ~broken).all()
    assert ((composition.winner >= 0) == broken.any(axis=1)).all()
    assert (result.robust == (result.clean_correct & (composition.winner < 0))).all()
    assert (broken.sum(axis=1) <= 1).all()  # each loss attacks only what is left
    # Who comes later was tried only on what the earlier ones left, in each restart.
    assert (composition.tried[:, 0] >= composition.tried[:, 1]).all()
    assert result.success.sum() > 0
    assert np.isnan(result.loss).all()
    assert (result.linf <= 0.16 * (1 + 1e-6)).all()


def test_complete_runs_find_the_same_images_and_say_who_was_needed(make_linear: Any) -> None:
    toy = make_linear(count=32)
    losses = ("ce", "margin-targeted")
    shared, complete = (attack(toy, eps=0.02, losses=losses, complete=value) for value in (False, True))
    assert shared.robust.tolist() == complete.robust.tolist()
    attacked = complete.clean_correct
    assert complete.composition.tried[attacked].all()
    assert not complete.composition.tried[~attacked].any()
    alone = complete.composition.alone
    exact_alone = [attack(toy, eps=0.02, losses=(loss,), restarts=2).success for loss in losses]
    # A loss on its own starts elsewhere, so only the linear model's exact attack must agree to the image.
    assert complete.success.tolist() == exact_alone[1].tolist()
    assert ((alone == 1) <= (complete.composition.broken_at[:, 0] < 0)).all()
    assert (alone == 1).any()
    assert not ((alone >= 0) & (complete.composition.broken_at >= 0).all(axis=1)).any()


def test_more_restarts_never_help_the_defender(convolutional: Any) -> None:
    one, three = (attack(convolutional, eps=0.1, steps=5, step=1.0, restarts=count) for count in (1, 3))
    assert not (three.robust & ~one.robust).any()
    early = (three.composition.broken_at == 0).any(axis=1)
    assert early.tolist() == one.success.tolist()


def test_losses_that_do_not_apply_are_left_out(make_linear: Any) -> None:
    assert attack(make_linear(count=8), steps=2, step=2.0).composition.members == (
        "ce@T",
        "margin",
        "margin-targeted",
        "dlr",
    )
    two = make_linear(classes=2, count=8)
    assert attack(two, steps=2, step=2.0).composition.members == ("ce@T", "margin", "margin-targeted")
    with pytest.raises(ValueError, match="adaptive_pgd: none of the losses dlr applies to a model with 2 classes"):
        attack(two, losses=("dlr",))


def test_batching_and_order_do_not_matter(make_quadratic: Any) -> None:
    toy = make_quadratic(count=16)
    model, images = toy.model.double(), toy.images.double()
    toy = type(toy)(model, images, toy.labels)
    options: dict[str, Any] = {
        "eps": 0.13,
        "steps": 10,
        "step": 0.4,
        "losses": ("margin", "margin-targeted", "distance-targeted"),
    }
    whole, parts = attack(toy, **options), attack(toy, batch_size=5, **options)
    assert 0 < whole.robust.sum() < 16
    assert parts.robust.tolist() == whole.robust.tolist()
    np.testing.assert_allclose(parts.adversarials, whole.adversarials, atol=1e-9)
    order = np.random.default_rng(1).permutation(16)
    shuffled = type(toy)(model, images[order], toy.labels[order])
    mixed = attack(shuffled, ids=order, batch_size=7, **options)
    assert mixed.composition.winner.tolist() == whole.composition.winner[order].tolist()
    np.testing.assert_allclose(mixed.adversarials, whole.adversarials[order], atol=1e-9)


def test_equal_seeds_give_equal_bytes(convolutional: Any) -> None:
    first, again, other = (attack(convolutional, seed=seed, steps=3, step=1.0, eps=0.01) for seed in (7, 7, 8))
    assert first.adversarials.tobytes() == again.adversarials.tobytes()
    assert first.adversarials.tobytes() != other.adversarials.tobytes()


def test_given_starts_are_used(make_linear: Any) -> None:
    toy = make_linear()
    broken = attack(toy, eps=0.05)
    options: dict[str, Any] = {"eps": 0.05, "losses": ("margin",)}
    again = attack(toy, starts=broken.adversarials, **options)
    assert (again.first_step[broken.success] == 0).all()
    assert (attack(toy, **options).first_step[broken.success] > 0).any()
    with pytest.raises(ValueError, match="starts must have the shape"):
        attack(toy, starts=broken.adversarials[:3])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        attack(toy, starts=broken.adversarials + 1)


def test_steps_decay(make_quadratic: Any) -> None:
    """Eight steps of eps/4 go 4 x 1/4 + 2 x 1/8 + 2 x 1/16 = 1.375 eps at most; the last ones are short."""
    from bench.attacks.ascent import Ascent, AscentBatch
    from bench.attacks.frozen import frozen
    from bench.attacks.losses import Goal, get_loss
    from bench.attacks.threat import ThreatModel

    toy = make_quadratic(count=4)
    with frozen(toy.model) as view:
        distances = []
        for steps in (4, 8):
            ascent = Ascent(view, ThreatModel("linf", 10.0), get_loss("margin"), steps, 1e-3, None, False, (0.5, 0.75))
            trace = ascent.run(AscentBatch(toy.images, Goal(toy.labels, None), None), toy.images)
            distances.append(float((trace["final"] - toy.images).abs().max()))
    assert distances == pytest.approx([2.75e-3, 5.5e-3], rel=1e-3)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_at_least_as_strong_as_the_libraries(make_linear: Any, make_quadratic: Any, seed: int) -> None:
    eps = {"linear": 0.02, "quadratic": 0.12}
    toys = {"linear": make_linear(count=100, seed=seed), "quadratic": make_quadratic(count=24)}
    for name, toy in toys.items():
        settings: dict[str, Any] = {"norm": "linf", "eps": eps[name], "seed": seed}
        own = attack(toy, steps=20, **settings).robust
        for library, params in (
            ("torchattacks.APGD", {"loss": "dlr", "steps": 30}),
            ("torchattacks.PGD", {"alpha": "eps/10", "steps": 30}),
            ("foolbox.LinfPGD", {"rel_stepsize": 0.1, "steps": 30}),
        ):
            theirs = run(library, toy.model, toy.images, toy.labels, **settings, **params).robust
            discordant = int((own != theirs).sum())
            assert int(own.sum()) - int(theirs.sum()) <= 2 * np.sqrt(discordant), (name, library)


def test_l2_budgets_work_too(make_quadratic: Any) -> None:
    toy = make_quadratic()
    small, large = (attack(toy, norm="l2", eps=eps, steps=10, step=0.5, restarts=1) for eps in (0.5, 0.8))
    assert large.robust.sum() < small.robust.sum()
    assert (large.l2 <= 0.8 * (1 + 1e-6)).all()


def test_the_definition_is_derived(make_linear: Any) -> None:
    options: dict[str, Any] = {
        "losses": ("ce@T", "margin-targeted", "dlr"),
        "rivals": 3,
        "steps": 40,
        "step": "eps/10",
        "eps": "8/255",
    }
    assert attack(make_linear(count=8), **options).definition == (
        "adaptive-pgd-linf[40, 8/255, step=eps/10 halved at 50% and 75%, losses ce@T (T: median clean gap / 5.5) + "
        "margin-targeted (top 3 rivals) + dlr (K >= 3), any iterate, 2 restarts, each loss on what is left]"
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"losses": ()}, "losses must be a list of at least one loss"),
        ({"losses": ("margin", "margin")}, "listed twice"),
        ({"losses": ("margins",)}, "did you mean 'margin'"),
        ({"restarts": 0}, "restarts must be an integer >= 1"),
        ({"complete": "yes"}, "complete must be true or false"),
        ({"targets": torch.ones(8, dtype=torch.int64)}, "takes no targets"),
        ({"eps": None}, "needs eps"),
        ({"steps": 20, "step": "eps/10"}, r"20 steps of eps/10, halved .* reach 1.4 eps, less than the 2 eps across"),
    ],
)
def test_wrong_parameters_are_refused(make_linear: Any, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attack(make_linear(count=8), **params)
