"""The evaluation in docs/extending.md is what people start from."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.evaluate.base import EVALUATIONS, Need

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"


def test_it_runs_and_means_what_it_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: Callable[..., Any],
    keeps_its_word: Callable[..., None],
) -> None:
    (code,) = re.findall(
        r"```python\n(# my_package/evaluations\.py.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "example_of_the_docs.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    evaluation = EVALUATIONS.get("example_of_the_docs:CONFIDENCE")
    config = evaluation.Config()
    assert evaluation.needs(config) == (Need("test", "forward"),)
    logits = np.array([[0.0, np.log(3.0)], [1000.0, 1000.0], [-5.0, -5.0 + np.log(9.0)]], np.float32)
    outcome = evaluation.evaluate(config, given({"test/forward": {"logits": logits}}))
    keeps_its_word(evaluation, config, outcome)
    (number,) = outcome.numbers
    assert number.value == pytest.approx((0.75 + 0.5 + 0.9) / 3, rel=1e-6)
    assert number.n == 3
