from __future__ import annotations

import numpy as np
import pytest

from bench.attacks.diagnostics import (
    answered_by,
    blackbox_flag,
    contradiction_flag,
    flat_flag,
    gradient_flag,
    iter_flag,
    loss_gap_flag,
    minimal_norm_flag,
    unbounded_flag,
)
from bench.attacks.verdict import verdict

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
    assert "margin leaves 80.0 points less than the paper's loss ([" in gap.text
    stronger = loss_gap_flag(robust(0.5), {"margin": robust(0.7)}, "ce")
    assert stronger.text.startswith("margin leaves 20.0 points more than ce ([")
    ends = stronger.text.partition("([")[2].partition("]")[0].split(", ")
    assert float(ends[0]) < 20 < float(ends[1])
    assert stronger.values["gap"] == pytest.approx(-0.2)
    # One point of a thousand images surely does not exceed two, and of none at all nothing was seen.
    assert not loss_gap_flag(robust(0.55), {"margin": robust(0.54)}).raised
    assert not loss_gap_flag(robust(0.55, 9), {"margin": robust(0.55, 9)}).raised
    assert not loss_gap_flag(robust(0.5), {"margin": robust(0.7)}).raised


@pytest.mark.parametrize("lost", [1.5, 2.0, 2.5])
def test_a_gap_near_its_limit_is_inconclusive_on_either_side(lost: float) -> None:
    gap = loss_gap_flag(robust(0.5), {"margin": robust(0.5 - lost / 100)})
    assert (gap.raised, gap.implies) == (True, "inconclusive")
    assert gap.values["low"] < 0.02 < gap.values["high"]
    assert "too small to tell it from the limit of 2.0%" in gap.text


def test_the_interval_of_a_gap_is_that_of_agresti_and_min() -> None:
    # 10 and 3 discordant pairs of 100: (10.5 - 3.5) / 102, and its standard error.
    before = np.repeat([1, 1, 0, 0], [40, 10, 3, 47]).astype(bool)
    after = np.repeat([1, 0, 1, 0], [40, 10, 3, 47]).astype(bool)
    flag = loss_gap_flag(before, {"margin": after})
    middle = (10.5 - 3.5) / 102
    error = np.sqrt(((10.5 + 3.5) / 102 - middle**2) / 102)
    assert flag.values["gap"] == 0.07
    assert (flag.values["low"], flag.values["high"]) == pytest.approx(
        (middle - 1.96 * error, middle + 1.96 * error), abs=1e-4
    )


def test_attack_seeds_tell_a_gap_from_its_limit() -> None:
    """The same gap of one point: 200 images of one run cannot tell, of eight runs can."""
    once = robust(0.5, 200), robust(0.49, 200)
    assert loss_gap_flag(once[0], {"margin": once[1]}).raised
    often = [np.repeat(flags[:, None], 8, axis=1) for flags in once]
    flag = loss_gap_flag(often[0], {"margin": often[1]})
    assert not flag.raised
    assert flag.values["gap"] == pytest.approx(0.01)
    assert "permutation p" not in flag.text or flag.values["p"] <= 1


@pytest.mark.parametrize(
    ("zero", "starts", "raised", "implies"),
    [
        (0, 10, False, "masked"),  # nothing was seen
        (1, 200, True, "inconclusive"),  # .5 % [.1, 2.8]
        (4, 200, True, "inconclusive"),  # 2 % [.8, 5.0]
        (8, 200, True, "masked"),  # 4 % [2.0, 7.7]
        (40, 1600, True, "masked"),  # 2.5 % [1.8, 3.4]
        (16, 1600, True, "inconclusive"),  # 1 %
        (8, 1600, False, "masked"),  # .5 % [.3, 1.0]
    ],
)
def test_zero_gradients_near_one_percent_are_inconclusive(zero: int, starts: int, raised: bool, implies: str) -> None:
    flag = gradient_flag(zero / starts, 0.5, starts)
    assert flag.raised == raised
    assert flag.implies == implies
    assert flag.values["zero_low"] <= zero / starts <= flag.values["zero_high"]
    assert f"of {starts} starts" in flag.text
    assert f"of {starts} last steps" in gradient_flag(zero / starts, 0.5, starts, "last steps").text


def test_the_verdict_of_a_share_does_not_jump_between_seeds() -> None:
    """Two draws of 195 images under 6 seeds get opposite words, masked and none, in less than 1 % of the cases."""
    generator = np.random.default_rng(0)
    for share in (0.001, 0.003, 0.007, 0.01, 0.014, 0.02, 0.03, 0.05):
        flags = [gradient_flag(count / 1170, 0.0, 1170) for count in generator.binomial(1170, share, size=400)]
        words = ["none" if not flag.raised else flag.implies for flag in flags]
        assert 2 * words.count("masked") * words.count("none") / 400**2 < 0.01
    near = [gradient_flag(count / 1170, 0.0, 1170) for count in generator.binomial(1170, 0.01, size=400)]
    assert np.mean([flag.raised and flag.implies == "inconclusive" for flag in near]) > 0.88


def test_a_loss_with_gradients_confirms_a_number_or_shows_that_it_is_too_high() -> None:
    vanishing = gradient_flag(0.4, 1.0, 200)

    def word(own: np.ndarray, other: np.ndarray) -> str:
        flag = answered_by(vanishing, own, {"margin": other, "weaker": robust(1.0, len(own))})
        assert flag.raised
        return flag.implies

    assert word(robust(0.9, 12), robust(0.9, 12)) == "confirmed"  # exactly the same, however few
    assert word(robust(0.5), robust(0.52)) == "confirmed"  # it leaves more
    assert word(robust(0.5), robust(0.49)) == "masked"  # ten of a thousand: beyond chance
    assert word(robust(0.5, 100), robust(0.47, 100)) == "inconclusive"  # three of a hundred
    same = answered_by(vanishing, robust(0.9), {"margin": robust(0.9)})
    assert same.text.endswith("margin, whose gradients do not vanish, leaves exactly the same images")
    assert verdict([same, loss_gap_flag(robust(0.9), {"margin": robust(0.9)})]).word == "confirmed"
    # Nobody whose gradients are alive: nothing is confirmed.
    assert answered_by(vanishing, robust(0.9), {}).implies == "masked"
    fine = gradient_flag(0.0, 1.0, 200)
    assert answered_by(fine, robust(0.9), {"margin": robust(0.5)}) == fine


def test_shares_of_seeds_make_curves_and_contradictions() -> None:
    halves = robust(0.5) * 0.5 + robust(0.25) * 0.25
    assert flat_flag([0.1, 0.4], [halves, halves], robust(0.95)).implies == "masked"
    assert not flat_flag([0.1, 0.4], [halves, halves / 4], robust(0.95)).raised
    flag = contradiction_flag(halves, np.where(robust(0.1), 0.0, halves), "cw-l2")
    assert flag.values["gap"] == pytest.approx(0.1 * 0.75)
    assert flag.implies == "masked"


def test_a_flat_curve_of_few_images_is_inconclusive() -> None:
    flag = flat_flag([0.1, 0.4], [robust(0.5, 30), robust(0.5 - 1 / 30, 30)], robust(1.0, 30))
    assert (flag.raised, flag.implies) == (True, "inconclusive")


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


def test_a_search_must_win_by_more_than_two_tenths_of_a_point_and_beyond_chance() -> None:
    assert not blackbox_flag(robust(0.5), robust(0.498), "Square").raised  # exactly .2 points
    few = blackbox_flag(robust(0.5), robust(0.497), "Square")  # 3 discordant pairs: p = 2 / 2^3
    assert (few.raised, few.implies) == (True, "inconclusive")
    assert few.values["p"] == pytest.approx(0.25)
    assert "n is too small" in few.text
    many = blackbox_flag(robust(0.5), robust(0.494), "Square")  # 6: p = 2 / 2^6
    assert (many.raised, many.implies) == (True, "masked")
    assert many.text.startswith("Square breaks 0.6 points that attacks with gradients did not")
    with pytest.raises(ValueError, match="one shape"):
        blackbox_flag(robust(0.5), robust(0.5, 10), "Square")


def test_more_budget_must_not_take_more_than_a_point() -> None:
    assert not iter_flag(robust(0.5), robust(0.49), "2 restarts", "4 restarts").raised
    flag = iter_flag(robust(0.5), robust(0.489), "2 restarts", "4 restarts")
    assert (flag.raised, flag.implies) == (True, "inconclusive")
    assert flag.text == "4 restarts leave 1.1 points less than 2 restarts"
    with pytest.raises(ValueError, match="one shape"):
        iter_flag(robust(0.5), robust(0.5, 10), "1 restart", "2 restarts")
