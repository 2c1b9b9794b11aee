"""Warning signs of gradient masking next to a robust accuracy (Carlini et al. 2019; Tramèr et al. 2020).

A robust accuracy is always an upper bound. These checks tell when the bound is known to be loose.
Pure NumPy: verdicts are recomputed from stored results without a network.

A check that can imply ``masked`` compares a measured share with a limit. The share has an interval, and there are three
answers: the interval lies above the limit (raised), it does not exceed the limit (not raised), or the limit lies inside
(raised, and ``inconclusive`` at most). So two runs of one attack do not get ``masked`` and ``no warning`` for a share
near its limit. A share of 0 never raises a flag. FLAT compares three shares of a whole curve with limits: their values
raise it, and it implies ``masked`` only if all three intervals agree.

Robust flags are (N,) booleans, or (N, A) for repeated attacks: image i under attack seed a. `flat_flag` and
`contradiction_flag` also take (N,) shares of the seeds, which tables store for repeated attacks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.shares import Answer, against, binary, gap, mean_gap, p_value
from bench.attacks.verdict import Flag, Word
from bench.metrics.intervals import wilson

__all__ = [
    "FLAT_LIMIT",
    "UNBOUNDED_EPS",
    "answered_by",
    "blackbox_flag",
    "contradiction_flag",
    "flat_flag",
    "gradient_flag",
    "iter_flag",
    "loss_gap_flag",
    "minimal_norm_flag",
    "noise_flag",
    "unbounded_flag",
]

ZERO_GRADIENT_LIMIT = 0.01
LOSS_GAP_LIMIT = 0.02
FLAT_LIMIT = 0.05
WELL_BELOW_CLEAN = 0.10
UNBOUNDED_LIMIT = 0.02
UNBOUNDED_EPS = 128 / 255
NOISE_LIMIT = 0.005
BLACKBOX_LIMIT = 0.002
ITER_LIMIT = 0.01
NORM_LIMIT = 0.03
SIGNIFICANCE = 0.05


def gradient_flag(zero_share: float, certain_share: float, starts: int | None = None, counted: str = "starts") -> Flag:
    """GRAD0: the loss has an exactly zero input gradient for more than 1 % of the starts of an attack.

    With ``starts``, the share has a Wilson interval for that number of trials: the range for other random starts of the
    same images. It is conservative, because images differ in how likely their gradient vanishes.

    Args:
        zero_share: Share with exactly zero gradient, in [0, 1].
        certain_share: Share with p_y == 1 in float32, in [0, 1]; printed only, it does not raise the flag.
        starts: Attacked images times attack seeds; None: the share is known exactly.
        counted: Noun for the starts in the sentence: an attack may look at its last steps, too.
    """
    for name, share in (("zero_share", zero_share), ("certain_share", certain_share)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {share!r}")
    text = f"input gradient exactly zero on {zero_share:.1%}, p_y rounds to 1 on {certain_share:.1%}"
    values = {"zero_gradient_share": zero_share, "certain_share": certain_share}
    if starts is None:
        return Flag("GRAD0", zero_share > ZERO_GRADIENT_LIMIT, "masked", values, text)
    interval = wilson(round(zero_share * starts), starts)
    answer = against(ZERO_GRADIENT_LIMIT, zero_share, interval.low, interval.high)
    values |= {"zero_low": interval.low, "zero_high": interval.high, "starts": float(starts)}
    text = (
        f"input gradient exactly zero on {zero_share:.1%} of {starts} {counted} "
        f"[{interval.low:.1%}, {interval.high:.1%}], p_y rounds to 1 on {certain_share:.1%}"
    )
    return _answered("GRAD0", answer, "masked", values, text, ZERO_GRADIENT_LIMIT)


def answered_by(flag: Flag, robust: NDArray[np.bool_], others: Mapping[str, NDArray[np.bool_]]) -> Flag:
    """GRAD0, revised by the results of other losses whose gradients do not vanish.

    The strongest of these losses decides. If it leaves significantly fewer images robust (level .05, same images), the
    number is known to be too high: ``masked``. If it leaves exactly the same images, or the interval of the gap
    contains 0 and does not exceed 2 points, the number is ``confirmed``. Otherwise it is ``inconclusive``.

    Args:
        flag: GRAD0 of the number.
        robust: (N,) or (N, A), robust under the loss of the number.
        others: By loss, robust flags on the same images and seeds; only losses whose own GRAD0 is not raised.
    """
    if not flag.raised or not others:
        return flag
    best = _strongest(others)
    lost, low, high = gap(robust, others[best])
    answer = against(LOSS_GAP_LIMIT, lost, low, high)
    told = f"{best}, whose gradients do not vanish, leaves"
    if np.array_equal(robust, others[best]):
        return replace(flag, implies="confirmed", text=f"{flag.text}; {told} exactly the same images")
    points, interval, word = _points(lost, low, high)
    text = f"{flag.text}; {told} {points} points [{interval}] {word}"
    if lost > 0 and p_value(robust, others[best]) < SIGNIFICANCE:
        return replace(flag, text=text)
    return replace(flag, implies="confirmed" if answer == "below" and low <= 0 else "inconclusive", text=text)


def loss_gap_flag(
    robust: NDArray[np.bool_], others: Mapping[str, NDArray[np.bool_]], named: str = "the paper's loss"
) -> Flag:
    """LOSSGAP: the accuracy under another loss is lower by more than 2 points, beyond chance.

    The interval of the gap is that of Agresti and Min (2005) over all pairs of an image and an attack seed. ``masked``
    also requires a significant test on the images (exact McNemar; permutation of means over attack seeds). Level and p
    are corrected by Bonferroni over the losses, because the strongest is picked.

    Args:
        robust: (N,) or (N, A) robust under the loss whose number is checked.
        others: By name of the loss, robust flags on the same images and seeds.
        named: What the sentence calls the loss that is checked.

    Raises:
        ValueError: There is no other loss, or the shapes differ.
    """
    if not others:
        raise ValueError("others needs at least one loss")
    for name, flags in others.items():
        if flags.shape != robust.shape or flags.ndim not in (1, 2) or not flags.size:
            raise ValueError(f"{name}: expected flags of shape {robust.shape}, got {flags.shape}")
    best = _strongest(others)
    losses, n = len(others), len(robust)
    lost, low, high = gap(robust, others[best], losses)
    p = min(1.0, p_value(robust, others[best]) * losses)
    answer = against(LOSS_GAP_LIMIT, lost, low, high)
    if answer == "above" and p >= SIGNIFICANCE:
        answer = "unclear"
    test = f"exact McNemar p = {p:.2g}" if robust.ndim == 1 else f"permutation p = {p:.2g}"
    points, interval, word = _points(lost, low, high)
    text = f"{best} leaves {points} points {word} than {named} ([{interval}], {test}, n = {n})"
    values = {"gap": lost, "low": low, "high": high, "p": p, "n": float(n)}
    return _answered("LOSSGAP", answer, "masked", values, text, LOSS_GAP_LIMIT)


def _strongest(others: Mapping[str, NDArray[np.bool_]]) -> str:
    """The loss that leaves the fewest images robust, by name; of equals the first in the alphabet."""
    return min(others, key=lambda name: (float(others[name].mean()), name))


def _points(lost: float, low: float, high: float) -> tuple[str, str, str]:
    """A fall of accuracy in points, the ends of its interval, and ``"less"``; of a rise all of it with ``"more"``."""
    if lost < 0:
        return f"{-lost * 100:.1f}", f"{-high * 100:.1f}, {-low * 100:.1f}", "more"
    return f"{lost * 100:.1f}", f"{low * 100:.1f}, {high * 100:.1f}", "less"


def flat_flag(eps: Sequence[float], robust: Sequence[NDArray[Any]], clean: NDArray[np.bool_]) -> Flag:
    """FLAT: the accuracy stops falling with the budget although it fell at first, or it rises.

    Raised if the accuracy at 4 eps is within 5 points of that at eps, the accuracy at eps is more than 10 points below
    the clean accuracy, and the accuracy at 4 eps is above 5 %; or if the accuracy rises between two successive budgets
    by more than two standard errors of the paired difference. Each of the three shares has an interval over images; if
    a limit lies inside one of them, flatness is inconclusive.

    Args:
        eps: Increasing budgets, at least two.
        robust: For each budget (N,) robust flags, or shares of the attack seeds, from independent runs. Chained runs
            would hide a rise.
        clean: (N,) clean-correct flags of the same images.

    Raises:
        ValueError: The budgets do not increase, or the shapes differ.
    """
    _check_curve(eps, robust, clean)
    shares = [flags.astype(np.float64) for flags in robust]
    accuracies = [float(values.mean()) for values in shares]
    answers = [
        _flatness(before, after, clean.astype(np.float64))
        for small, before in zip(eps, shares, strict=True)
        for large, after in zip(eps, shares, strict=True)
        if math.isclose(large, 4 * small, rel_tol=1e-6)
    ]
    rises = [_rise(shares[i], shares[i + 1]) for i in range(len(shares) - 1)]
    rise = max((gain for gain, significant in rises if significant), default=0.0)
    curve = ", ".join(f"{budget * 255:.3g}/255: {value:.1%}" for budget, value in zip(eps, accuracies, strict=True))
    text = f"clean {float(clean.mean()):.1%}; {curve}"
    values = {
        "flat_pairs": float(answers.count("above")),
        "unclear_pairs": float(answers.count("unclear")),
        "largest_significant_rise": rise,
    }
    surely = "above" in answers or rise > 0
    if not surely and "unclear" in answers:
        text += "; whether it is flat is too close to tell"
    return Flag("FLAT", surely or "unclear" in answers, "masked" if surely else "inconclusive", values, text)


def _flatness(before: NDArray[np.float64], after: NDArray[np.float64], clean: NDArray[np.float64]) -> Answer:
    """Whether a curve is flat between a budget and four times this budget: ``below`` if it is not flat by the values,
    ``above`` if it is flat by the intervals of all three shares, else ``unclear``.
    """
    lost, _, lost_high = mean_gap(before, after)
    worked, worked_low, _ = mean_gap(clean, before)
    left = float(after.mean())
    if lost >= FLAT_LIMIT or worked <= WELL_BELOW_CLEAN or left <= FLAT_LIMIT:
        return "below"
    sure = wilson(round(left * len(after)), len(after)).low > FLAT_LIMIT
    return "above" if sure and lost_high < FLAT_LIMIT and worked_low > WELL_BELOW_CLEAN else "unclear"


def unbounded_flag(eps: float, robust: NDArray[np.bool_]) -> Flag:
    """UNBOUNDED: the accuracy is at least 2 % at an L_inf budget of at least 128/255, which can turn any image grey.

    Raises:
        ValueError: The budget is smaller; the check does not apply to it.
    """
    if eps < UNBOUNDED_EPS - 1e-9:
        raise ValueError(f"the check needs an L_inf budget of at least 128/255, got {eps * 255:.3g}/255")
    accuracy = float(robust.mean())
    ends = wilson(int(robust.sum()), robust.size)
    text = f"accuracy {accuracy:.1%} at {eps * 255:.3g}/255, where nothing can be robust"
    values = {"accuracy": accuracy, "low": ends.low, "high": ends.high}
    return Flag("UNBOUNDED", accuracy >= UNBOUNDED_LIMIT, "inconclusive", values, text)


def blackbox_flag(white_box: NDArray[np.bool_], with_search: NDArray[np.bool_], search: str) -> Flag:
    """BLACKBOX: a search without gradients lowers the accuracy under attacks with gradients by more than .2 points
    (rule of AutoAttack).

    Exact McNemar test on the same images; if the gap is not significant, n is too small to tell.

    Args:
        white_box: (N,) or (N, A), robust under the attacks with gradients.
        with_search: Robust under these attacks and the search.
        search: Name of the search.
    """
    told = f"{search} breaks", "that attacks with gradients did not"
    return _taken("BLACKBOX", white_box, with_search, BLACKBOX_LIMIT, told)


def iter_flag(half: NDArray[np.bool_], full: NDArray[np.bool_], half_budget: str, full_budget: str) -> Flag:
    """ITER: doubling the compute budget lowers the accuracy by more than 1 point, so the attack has not converged.

    Args:
        half: (N,) or (N, A), robust under half of the compute budget.
        full: Robust under all of it, same shape.
        half_budget: Half of the budget in words, such as ``"2 restarts"``.
        full_budget: The whole budget in words, such as ``"4 restarts"``.

    Raises:
        ValueError: The shapes differ, or there is no image.
    """
    if half.shape != full.shape or half.ndim not in (1, 2) or not half.size:
        raise ValueError(f"expected two arrays of one shape (N,) or (N, A), got {half.shape} and {full.shape}")
    lost, low, high = gap(half, full)
    text = f"{full_budget} leave {lost * 100:.1f} points less than {half_budget}"
    values = {"gap": lost, "low": low, "high": high, "n": float(len(half))}
    return Flag("ITER", lost > ITER_LIMIT, "inconclusive", values, text)


def minimal_norm_flag(norms: NDArray[np.float64], others: Mapping[str, NDArray[np.float64]]) -> Flag:
    """MINNORM: other attacks lower the mean of an attack's minimal norms: it exceeds the new mean by more than 3 %.

    A smaller perturbation of the same image that fools the same model is a proof, so no statistical test is needed. Our
    own attack must stay within the same limit on models whose minimal norms are known.

    Args:
        norms: (N,) norms of the attack, infinite where it failed, finite at least once.
        others: By name of another attack, its (N,) norms on the same images, infinite where it failed.

    Raises:
        ValueError: There is no other attack, no finite norm, or a shape differs.
    """
    if not others or not np.isfinite(norms).any():
        raise ValueError("need another attack, and an image that was broken")
    for name, found in others.items():
        if found.shape != norms.shape or norms.ndim != 1:
            raise ValueError(f"{name}: expected norms of shape {norms.shape}, got {found.shape}")
    broken = np.isfinite(norms)
    own = norms[broken]
    smallest = np.minimum.reduce([own, *(found[broken] for found in others.values())])
    mean, least = float(own.mean()), float(smallest.mean())
    best = max(others, key=lambda name: (float(np.maximum(own - others[name][broken], 0).sum()), name))
    smaller = int((smallest < own).sum())
    text = f"{best if len(others) == 1 else 'others, most of all ' + best} found smaller perturbations of "
    text += f"{smaller} of {len(own)} shared items: mean {least:.3g} instead of {mean:.3g}"
    values = {"mean": mean, "smallest": least, "n": float(len(own))}
    return Flag("MINNORM", mean > (1 + NORM_LIMIT) * least, "inconclusive", values, text)


def contradiction_flag(robust: NDArray[Any], without: NDArray[Any], other: str) -> Flag:
    """MINNORM of an accuracy: an attack that minimises norms lowers it by more than .2 points inside the budget.

    Exact McNemar test on the same images; if the gap is not significant, n is too small to tell.

    Args:
        robust: (N,) robust under the attack, or shares of attack seeds under which the image is robust.
        without: (N,) the same values, but 0 where the other attack broke the image within the budget.
        other: Name of the attack that minimises norms.
    """
    told = f"{other} broke", "inside the budget that this attack left"
    return _taken("MINNORM", robust, without, BLACKBOX_LIMIT, told)


def noise_flag(attacked: NDArray[np.bool_], with_noise: NDArray[np.bool_], draws: int) -> Flag:
    """NOISE: random points of the ball lower the accuracy under an attack with gradients by more than .5 points, so the
    gradients do not guide the attack.

    Exact McNemar test on the same images; if the gap is not significant, n is too small to tell.

    Args:
        attacked: (N,) or (N, A), robust under the attack with gradients.
        with_noise: Robust under this attack and under random points.
        draws: Points tried for each image.
    """
    told = f"{draws} random points break", "that the attack did not"
    return _taken("NOISE", attacked, with_noise, NOISE_LIMIT, told)


def _taken(name: str, before: NDArray[Any], after: NDArray[Any], limit: float, told: tuple[str, str]) -> Flag:
    """A flag that is raised if the mean falls by more than ``limit`` from ``before`` to ``after``, on the same images.
    It implies ``masked`` if the fall is significant. ``told`` is the text before and after the points.
    """
    if before.shape != after.shape or before.ndim not in (1, 2) or not before.size:
        raise ValueError(f"expected two arrays of one shape (N,), got {before.shape} and {after.shape}")
    p = p_value(before, after)
    lost = float(before.sum() - after.sum(dtype=before.sum().dtype)) / before.size
    raised, significant = lost > limit, p < SIGNIFICANCE
    test = "exact McNemar" if binary(before) and binary(after) else "permutation"
    text = f"{told[0]} {100 * lost:.1f} points {told[1]} ({test} p = {p:.2g}, n = {len(before)})"
    if raised and not significant:
        text += "; n is too small to tell"
    values = {"gap": lost, "p": p, "n": float(len(before))}
    return Flag(name, raised, "masked" if significant else "inconclusive", values, text)


def _answered(name: str, answer: Answer, implies: Word, values: Mapping[str, float], text: str, limit: float) -> Flag:
    """The flag of an answer; an unclear answer implies ``inconclusive`` at most."""
    if answer == "unclear":
        told = f"{text}; n is too small to tell it from the limit of {limit:.1%}"
        return Flag(name, True, "inconclusive", values, told)
    return Flag(name, answer == "above", implies, values, text)


def _check_curve(eps: Sequence[float], robust: Sequence[NDArray[Any]], clean: NDArray[np.bool_]) -> None:
    if len(eps) < 2 or len(eps) != len(robust) or any(b <= a for a, b in pairwise(eps)):
        raise ValueError(f"need at least two increasing budgets with one array each, got {list(eps)}")
    if not len(clean) or any(flags.shape != clean.shape for flags in robust):
        raise ValueError(f"all flags must have the shape {clean.shape} of the clean ones, with N >= 1")


def _rise(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, bool]:
    """Gain of accuracy in [-1, 1], and whether it exceeds two standard errors of the paired difference."""
    difference = after - before
    gained = float(difference.sum())
    return gained / len(before), gained > 2 * math.sqrt(float((difference**2).sum()))
