from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench import attacks
from bench.data.splits import Splits
from bench.evaluate.robust.accuracies import item_arrays
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.family import Classifier


def test_says_of_each_item_what_the_attack_did(ramp: Callable[..., Classifier], pixels: Callable[..., Splits]) -> None:
    """One pixel at 1/2 + 4/255 and at 1/2 + 40/255: the first crosses 1/2, the second moves by eps and does not."""
    test = pixels([0.5 + 4 / 255, 0.5 + 40 / 255]).test
    result = attacks.run(
        "pgd",
        ramp(10.0),
        test.unit_images(),
        test.labels,
        norm="linf",
        eps="8/255",
        seed=0,
        loss="margin",
        step="eps/4",
        steps=40,
    )
    found = item_arrays(result, "margin.")
    assert {name.partition(".")[0] for name in found} == {"margin"}
    kept = {name.partition(".")[2]: values for name, values in found.items()}
    assert kept["prediction"].tolist() == [0, 1]
    np.testing.assert_allclose(kept["linf"], 8 / 255, atol=1e-6)
    np.testing.assert_allclose(kept["norm_l2"], 8 / 255, atol=1e-6)
    # Logits (0, 10 (x - 1/2)) and class 1: the margin is -10 (x - 1/2).
    np.testing.assert_allclose(kept["margin_before"], [-10 * 4 / 255, -10 * 40 / 255], atol=1e-5)
    np.testing.assert_allclose(kept["margin_after"], [10 * 4 / 255, -10 * 32 / 255], atol=1e-5)
    np.testing.assert_allclose(kept["loss"], kept["margin_after"], atol=1e-5)
    assert kept["first_step"][0] >= 0
    assert kept["first_step"][1] == -1
    np.testing.assert_allclose(kept["start_gradient"], 10)
    start = kept["start_p"]
    assert ((start > 1 / (1 + math.exp(10 * 12 / 255))) & (start < 1)).all()
    assert (kept["forwards"] >= 41).all()


@pytest.mark.parametrize("losses", [("ce",), ("ce", "margin")])
def test_pgd_keeps_it_by_loss(
    losses: tuple[str, ...], given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    config = PGDConfig(eps=("8/255",), steps=3, losses=losses)
    outcome = PGD().evaluate(config, given(model=ramp(), splits=pixels([0.4, 0.6, 0.7])))
    for loss in losses:
        assert outcome.items[f"{loss}.loss"].shape == (3,)
        assert np.isfinite(outcome.items[f"{loss}.start_gradient"]).all()
