from __future__ import annotations

import numpy as np
import pytest

from bench.attacks.diagnostics import blackbox_flag, iter_flag
from bench.attacks.spec import check_reach
from bench.attacks.threat import parse_step


def robust(count: int, total: int = 1000) -> np.ndarray:
    return np.arange(total) < count


def test_a_search_must_win_by_more_than_two_tenths_of_a_point_and_beyond_chance() -> None:
    assert not blackbox_flag(robust(500), robust(498), "Square").raised  # exactly .2 points
    few = blackbox_flag(robust(500), robust(497), "Square")  # 3 discordant pairs: p = 2 / 2^3
    assert (few.raised, few.implies) == (True, "inconclusive")
    assert few.values["p"] == pytest.approx(0.25)
    assert "n is too small" in few.text
    many = blackbox_flag(robust(500), robust(494), "Square")  # 6: p = 2 / 2^6
    assert (many.raised, many.implies) == (True, "masked")
    assert many.text.startswith("Square breaks 0.6 points that attacks with gradients did not")
    with pytest.raises(ValueError, match="one shape"):
        blackbox_flag(robust(5), robust(5, 10), "Square")


def test_more_budget_must_not_take_more_than_a_point() -> None:
    assert not iter_flag(robust(500), robust(490), "2 restarts", "4 restarts").raised
    flag = iter_flag(robust(500), robust(489), "2 restarts", "4 restarts")
    assert (flag.raised, flag.implies) == (True, "inconclusive")
    assert flag.text == "4 restarts leave 1.1 points less than 2 restarts"
    with pytest.raises(ValueError, match="one shape"):
        iter_flag(robust(5), robust(5, 10), "1 restart", "2 restarts")


def test_steps_must_cross_the_ball() -> None:
    # 40 steps: 20/8 + 10/16 + 10/32 = 3.4 eps; 16 of eps/8: 1 + 1/4 + 1/8 = 1.375 eps.
    check_reach(40, parse_step("eps/8"), None)
    with pytest.raises(ValueError, match=r"16 steps of eps/8, .* reach 1.4 eps"):
        check_reach(16, parse_step("eps/8"), None)
    absolute = parse_step("1/255")
    check_reach(16, absolute, 4 / 255)  # 8 + 2 + 1 = 11 of 255 cross a ball of radius 4
    with pytest.raises(ValueError, match="16 steps of 1/255"):
        check_reach(16, absolute, 8 / 255)
    check_reach(16, absolute, None)
    check_reach(1, parse_step("eps/8"), 0.0)
