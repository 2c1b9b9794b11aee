from __future__ import annotations

import numpy as np
import pytest

from bench.attacks.diagnostics import gradient_flag, loss_gap_flag
from bench.attacks.verdict import transfer_flag
from bench.evaluate.robust.accuracies import RobustAccuracies
from bench.metrics.intervals import wilson


def test_a_number_says_what_was_left_and_what_was_checked() -> None:
    robust = np.array([True, False, False, True, False])
    fine = [gradient_flag(0.0, 0.2), loss_gap_flag(robust, {"margin": robust})]
    found = RobustAccuracies("8/255")
    found.add("ce", "first", robust, [gradient_flag(0.5, 1.0), fine[1]])
    found.add("margin", "second", ~robust, fine)
    ce, margin = found.numbers
    assert (ce.metric, ce.argument, ce.definition, ce.n, ce.items) == ("ce", "8/255", "first", 5, "ce")
    assert (ce.value, margin.value) == (2 / 5, 3 / 5)
    assert ce.interval == wilson(2, 5)
    assert (ce.verdict, set(ce.flags)) == ("masked", {"GRAD0"})
    assert (margin.verdict, margin.flags) == ("no warning", {})
    assert found.items["margin"].tolist() == [False, True, True, False, True]
    assert set(found.details["checks"]["margin"]) == {"GRAD0", "LOSSGAP"}
    assert "BLACKBOX" in found.details["not_measured"]["ce"]
    assert not {"GRAD0", "LOSSGAP"} & set(found.details["not_measured"]["ce"])


@pytest.mark.parametrize("flags", [[], [transfer_flag()]])
def test_without_the_indispensable_checks_it_is_inconclusive(flags: list[object]) -> None:
    found = RobustAccuracies("8/255")
    found.add("robust", "text", np.ones(3, dtype=np.bool_), flags)  # type: ignore[arg-type]
    assert found.numbers[0].verdict == "inconclusive"
    assert set(found.numbers[0].flags) == ({"TRANSFER"} if flags else set())
