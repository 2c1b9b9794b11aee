"""Words of verdicts, and the warning signs that need no accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from bench.attacks.diagnostics import blackbox_flag, gradient_flag, iter_flag, loss_gap_flag
from bench.attacks.verdict import coverage_flag, dynamic_flag, logits_flag, random_flag, verdict


def robust(share: float) -> np.ndarray:
    """The first of 1000 images are robust."""
    return np.arange(1000) < round(share * 1000)


def test_a_number_of_nothing_left_is_exact() -> None:
    flags = [gradient_flag(1.0, 1.0, 200), random_flag(True)]
    assert verdict(flags).word == "masked"
    assert verdict(flags, left=0).word == "no warning"
    assert verdict([], left=0).word == "no warning"
    assert verdict([], left=1).word == "inconclusive"


def test_attacks_that_were_left_out_are_named() -> None:
    flag = coverage_flag({"square": "needs square images"})
    assert (flag.raised, flag.implies) == (True, "inconclusive")
    assert flag.text == "left out: square (needs square images)"


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
