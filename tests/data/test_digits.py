from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets

from bench.data import digits
from bench.data.spec import DamagedData, Split


def load() -> Split:
    return digits.load(Path("/nonexistent"), like=None, image_shape=None, seed=0)["all"]


def test_digits_are_scikit_learns_divided_by_16() -> None:
    bunch = sklearn.datasets.load_digits()
    whole = load()
    assert whole.images.shape == (1797, 1, 8, 8)
    assert whole.images.dtype == np.float32
    np.testing.assert_array_equal(whole.images[:, 0], bunch.images / 16)
    np.testing.assert_array_equal(whole.labels, bunch.target)
    np.testing.assert_array_equal(whole.ids, np.arange(1797))
    assert (whole.images.min(), whole.images.max()) == (0.0, 1.0)


@pytest.mark.parametrize("field", ["images", "target"])
def test_one_other_value_is_damage(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    bunch = sklearn.datasets.load_digits()
    bunch[field][5] = bunch[field][6]
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: bunch)
    with pytest.raises(DamagedData, match="expected 87ff0c9e"):
        load()
