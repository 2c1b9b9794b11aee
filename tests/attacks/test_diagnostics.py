from __future__ import annotations

import numpy as np
import pytest

from bench.attacks.diagnostics import (
    blackbox_flag,
    contradiction_flag,
    dynamic_flag,
    flat_flag,
    gradient_flag,
    iter_flag,
    logits_flag,
    loss_gap_flag,
    minimal_norm_flag,
    random_flag,
    unbounded_flag,
    verdict,
)

EPS = [4 / 255, 8 / 255, 16 / 255, 32 / 255]


def robust(share: float, count: int = 1000) -> np.ndarray:
    """The first images are robust: arrays of different shares are nested."""
    return np.arange(count) < round(share * count)


def test_zero_gradients_count_from_one_percent_and_certainty_only_informs() -> None:
    assert not gradient_flag(0.01, 1.0).raised
    assert gradient_flag(0.011, 0.0).raised
    assert gradient_flag(0.011, 0.3).values == {"zero_gradient_share": 0.011, "certain_share": 0.3}
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        gradient_flag(float("nan"), 0.0)


def test_a_gap_of_losses_must_be_large_and_beyond_chance() -> None:
    gap = loss_gap_flag(robust(0.9), {"margin": robust(0.1), "dlr": robust(0.5)})
    assert gap.raised
    assert gap.implies == "masked"
    assert gap.values["gap"] == pytest.approx(0.8)
    assert "margin leaves 80.0 points less" in gap.text
    # Two points exactly do not exceed two points, whatever the rounding of the difference.
    assert not loss_gap_flag(robust(0.55, 100), {"margin": robust(0.53, 100)}).raised
    assert not loss_gap_flag(robust(0.5), {"margin": robust(0.7)}).raised


def test_a_large_gap_on_few_images_is_inconclusive() -> None:
    # 3 of 20 images: 15 points, but the exact p of 3 discordant pairs is 2 / 2^3.
    gap = loss_gap_flag(robust(0.5, 20), {"margin": robust(0.35, 20)})
    assert gap.raised
    assert gap.values["p"] == pytest.approx(0.25)
    assert gap.implies == "inconclusive"
    assert "n is too small" in gap.text
    assert verdict([gap, gradient_flag(0, 0)]).word == "inconclusive"


def test_picking_the_best_of_several_losses_is_paid_for() -> None:
    # 6 discordant pairs: p = 2 / 2^6 = .03125 alone, .125 as the best of four.
    alone = loss_gap_flag(robust(0.6, 20), {"a": robust(0.3, 20)})
    of_four = loss_gap_flag(robust(0.6, 20), {name: robust(0.3, 20) for name in "abcd"})
    assert alone.values["p"] == pytest.approx(0.03125)
    assert of_four.values["p"] == pytest.approx(0.125)
    assert (alone.implies, of_four.implies) == ("masked", "inconclusive")


def test_the_flat_curve_of_the_paper_is_flat() -> None:
    # GMMC (Gen), Table 5 of the paper: 56.3 ... 55.0 from 4/255 to 32/255.
    curve = [robust(share) for share in (0.563, 0.562, 0.556, 0.550)]
    flag = flat_flag(EPS, curve, robust(0.93))
    assert flag.raised
    assert flag.values["flat_pairs"] == 2  # 4 -> 16 and 8 -> 32
    assert flag.implies == "masked"


@pytest.mark.parametrize(
    ("shares", "clean"),
    [
        ((0.60, 0.30, 0.10, 0.0), 0.93),  # falls
        ((0.016, 0.0, 0.0, 0.0), 0.93),  # has nothing left to lose
        ((0.91, 0.90, 0.90, 0.89), 0.93),  # budgets too small to do anything
    ],
)
def test_other_curves_are_not(shares: tuple[float, ...], clean: float) -> None:
    assert not flat_flag(EPS, [robust(share) for share in shares], robust(clean)).raised


def test_a_rise_counts_beyond_two_standard_errors() -> None:
    # Nested flags: 4 images gained and none lost is exactly 2 standard errors, 5 is beyond.
    clean = robust(0.95)
    base = robust(0.5)
    for gained, raised in ((4, False), (5, True)):
        curve = [base, robust(0.5 + gained / 1000)]
        assert flat_flag([8 / 255, 16 / 255], curve, clean).raised == raised
    # The same gain among many changed images is noise.
    mixed = np.roll(robust(0.505), 300)
    assert not flat_flag([8 / 255, 16 / 255], [base, mixed], clean).raised


def test_nothing_is_robust_against_half_the_range() -> None:
    assert unbounded_flag(128 / 255, robust(0.02)).raised
    assert not unbounded_flag(128 / 255, robust(0.019)).raised
    with pytest.raises(ValueError, match="at least 128/255"):
        unbounded_flag(64 / 255, robust(0.5))


def test_the_word_follows_the_worst_flag_and_what_was_measured() -> None:
    fine = [gradient_flag(0, 0.9), loss_gap_flag(robust(0.5), {"margin": robust(0.49)})]
    assert verdict(fine).word == "no warning"
    assert verdict(fine).not_measured == (
        *("FLAT", "NOISE", "BLACKBOX", "UNBOUNDED", "ITER", "MINNORM", "LOGITS", "RANDOM", "DYNAMIC"),
    )
    more = [*fine, blackbox_flag(robust(0.5), robust(0.5), "Square"), iter_flag(robust(0.5), robust(0.5), "1", "2")]
    assert verdict(more).not_measured == ("FLAT", "NOISE", "UNBOUNDED", "MINNORM", "LOGITS", "RANDOM", "DYNAMIC")
    # Only what the number cannot do without makes it inconclusive by its absence.
    assert verdict(more).word == "no warning"
    assert verdict([]).word == "inconclusive"
    assert verdict(fine[:1]).word == "inconclusive"
    assert verdict([*fine, random_flag(True)]).word == "inconclusive"
    assert verdict([*fine, logits_flag(True)]).word == "inconclusive"
    assert verdict([*fine, dynamic_flag(True)]).word == "inconclusive"
    assert verdict([*fine, random_flag(False), logits_flag(False), dynamic_flag(False)]).word == "no warning"
    masked = verdict([*fine[1:], gradient_flag(0.5, 1.0), random_flag(True)])
    assert (masked.word, masked.raised) == ("masked", ("GRAD0", "RANDOM"))
    with pytest.raises(ValueError, match="every check once"):
        verdict([fine[0], fine[0]])


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="margin: expected flags of shape"):
        loss_gap_flag(robust(0.5), {"margin": robust(0.5, 10)})
    with pytest.raises(ValueError, match="at least one loss"):
        loss_gap_flag(robust(0.5), {})
    with pytest.raises(ValueError, match="two increasing budgets"):
        flat_flag([0.2, 0.1], [robust(0.5), robust(0.4)], robust(0.9))
    with pytest.raises(ValueError, match="shape"):
        flat_flag([0.1, 0.2], [robust(0.5), robust(0.4, 10)], robust(0.9))


def test_a_norm_is_minimal_until_another_attack_finds_smaller_ones() -> None:
    inf = np.inf
    own = np.array([1.0, 2.0, inf, 3.0])
    flag = minimal_norm_flag(own, {"other": np.array([2.0, 1.0, 1.0, inf])})
    assert flag.raised
    assert flag.implies == "inconclusive"
    assert flag.values == {"mean": 2.0, "smallest": pytest.approx(5 / 3), "n": 3.0}
    assert not minimal_norm_flag(own, {"other": own + 1}).raised
    # Others are taken together, image by image, and the one that gains most is named.
    both = {"a": np.array([0.9, 3.0, inf, inf]), "b": np.array([1.0, 2.0, inf, 1.0])}
    assert "most of all b found smaller perturbations of 2 of 3" in minimal_norm_flag(own, both).text


def test_three_percent_of_the_mean_are_allowed() -> None:
    least = np.linspace(1, 2, 20)
    assert not minimal_norm_flag(1.0299 * least, {"other": least}).raised
    assert minimal_norm_flag(1.0301 * least, {"other": least}).raised


def test_norms_that_cannot_be_compared_are_refused() -> None:
    norms = np.ones(3)
    with pytest.raises(ValueError, match="another attack"):
        minimal_norm_flag(norms, {})
    with pytest.raises(ValueError, match="that was broken"):
        minimal_norm_flag(np.full(3, np.inf), {"other": norms})
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        minimal_norm_flag(norms, {"other": np.ones(4)})


def test_an_accuracy_is_contradicted_by_images_inside_its_budget() -> None:
    flag = contradiction_flag(robust(0.5), robust(0.4), "cw-l2")
    assert (flag.name, flag.raised, flag.implies) == ("MINNORM", True, "masked")
    few = contradiction_flag(robust(0.5), robust(0.497), "cw-l2")
    assert (few.raised, few.implies) == (True, "inconclusive")
    assert "n is too small" in few.text
    assert not contradiction_flag(robust(0.5), robust(0.498), "cw-l2").raised
