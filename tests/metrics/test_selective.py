from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.metrics.selective import aurc_interval, aurc_resamples, risk_coverage

cases = st.lists(
    st.tuples(st.sampled_from([0.1, 0.5, 0.7, 0.7000001, 1.0]), st.booleans()), min_size=1, max_size=25
).map(lambda pairs: tuple(np.array(column) for column in zip(*pairs, strict=True)))


def area_in_order(wrong: np.ndarray) -> float:
    """The mean of the risk of the first k items."""
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def test_distinct_confidences_have_the_area_of_the_definition():
    generator = np.random.default_rng(0)
    confidence, correct = generator.permutation(200) / 200, generator.uniform(size=200) < 0.8
    expected = area_in_order(~correct[np.argsort(-confidence)])
    assert risk_coverage(confidence, correct).aurc == pytest.approx(expected, abs=1e-12)


def test_ties_count_as_the_mean_over_their_orders():
    confidence, correct = [0.9, 0.5, 0.5, 0.5, 0.1], np.array([1, 0, 1, 1, 0])
    wrong = 1 - correct
    areas = [
        area_in_order(np.array([wrong[0], *(wrong[1 + i] for i in order), wrong[4]]))
        for order in permutations(range(3))
    ]
    assert risk_coverage(confidence, correct).aurc == pytest.approx(np.mean(areas), abs=1e-12)


@given(cases, st.randoms())
def test_properties(case, random):
    confidence, correct = case
    curve = risk_coverage(confidence, correct)
    order = random.sample(range(len(correct)), len(correct))
    again = risk_coverage(confidence[order], correct[order])
    assert again.aurc == pytest.approx(curve.aurc, abs=1e-12)
    np.testing.assert_allclose(again.risk, curve.risk)
    assert 0 <= curve.excess <= curve.aurc <= 1
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(1 - correct.mean())
    assert len(curve.threshold) == len(np.unique(confidence))
    for threshold, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        taken = confidence >= threshold
        assert coverage == pytest.approx(taken.mean())
        assert risk == pytest.approx(1 - correct[taken].mean())
    # Only the order of the confidences counts.
    assert risk_coverage(confidence**3, correct).aurc == pytest.approx(curve.aurc, abs=1e-12)


def test_known_areas():
    assert risk_coverage(np.full(10, 0.3), np.arange(10) < 7).aurc == pytest.approx(0.3)
    assert risk_coverage([0.9, 0.1], [True, True]).aurc == 0
    assert risk_coverage([0.9, 0.1], [False, False]).aurc == 1
    ranked = risk_coverage([4, 3, 2, 1], [1, 1, 1, 0])
    assert ranked.aurc == pytest.approx(1 / 16)
    assert ranked.excess == pytest.approx(0, abs=1e-12)
    assert risk_coverage([np.inf, 1.0], [0, 1]).aurc == pytest.approx(0.75)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="one length"):
        risk_coverage([0.5], [True, False])
    with pytest.raises(ValueError, match="1 NaN"):
        risk_coverage([np.nan], [True])
    with pytest.raises(ValueError, match="level"):
        aurc_interval([0.5, 0.6], [True, False], seed=0, level=1)
    with pytest.raises(ValueError, match="resamples"):
        aurc_interval([0.5, 0.6], [True, False], seed=0, resamples=9)


def test_resamples_are_areas_of_resampled_items():
    confidence, correct = np.array([0.9, 0.8, 0.8, 0.1]), np.array([1, 0, 1, 0])
    found = aurc_resamples(confidence, correct, draws=5, seed=3)
    generator = np.random.default_rng(3)
    for value in found:
        items = generator.integers(4, size=4)
        assert value == pytest.approx(risk_coverage(confidence[items], correct[items]).aurc)


def test_the_interval_holds_the_area_and_needs_a_right_and_a_wrong_item():
    generator = np.random.default_rng(0)
    confidence = generator.uniform(size=300)
    correct = generator.uniform(size=300) < confidence
    interval = aurc_interval(confidence, correct, seed=0)
    assert interval is not None
    assert 0 < interval.low < risk_coverage(confidence, correct).aurc < interval.high < 1
    assert aurc_interval(confidence, np.ones(300), seed=0) is None
    assert aurc_interval(confidence, np.zeros(300), seed=0) is None


@pytest.mark.peer
def test_aurc_agrees_with_pytorch_ood():
    """The trapezoid of pytorch-ood leaves half of the first and of the last item out; n times larger, it is near."""
    metrics = pytest.importorskip("pytorch_ood.utils.metrics_functional")
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    confidence = generator.uniform(size=2000)
    correct = generator.uniform(size=2000) < confidence
    aurra = getattr(metrics, "aurra", None)
    if aurra is None:
        pytest.skip("this version has no AURRA")
    found = aurra(torch.from_numpy(confidence), torch.from_numpy(correct))
    assert 1 - float(found) == pytest.approx(risk_coverage(confidence, correct).aurc, abs=2e-3)
