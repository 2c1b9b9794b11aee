from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.metrics.predictions import NO_CLASS, absence, finite_items, predicted_classes

ANY = st.one_of(st.floats(-5, 5), st.sampled_from([np.nan, np.inf, -np.inf]))


@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=ANY))
def test_a_row_with_anything_that_is_not_finite_has_no_class(logits):
    predicted = predicted_classes(logits)
    for row, finite, label in zip(logits.tolist(), finite_items(logits), predicted, strict=True):
        assert finite == all(np.isfinite(value) for value in row)
        assert label == (row.index(max(row)) if finite else NO_CLASS)


def test_no_label_equals_no_class():
    assert NO_CLASS < 0
    assert (predicted_classes(np.full((3, 2), np.nan)) == NO_CLASS).all()


def test_values_of_any_shape_are_judged_item_by_item():
    images = np.zeros((3, 1, 2, 2))
    images[1, 0, 1, 1] = np.nan
    assert finite_items(images).tolist() == [True, False, True]
    assert finite_items([1.0, np.inf]).tolist() == [True, False]


@pytest.mark.parametrize("shape", [(3,), (3, 0), (2, 2, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="logits must have shape"):
        predicted_classes(np.zeros(shape))


def test_the_words():
    assert absence(1234, 9876, "test items have no finite logits") == "1,234 of 9,876 test items have no finite logits"
