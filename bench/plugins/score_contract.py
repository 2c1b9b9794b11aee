"""What a score of out-of-distribution detection must declare, when it is registered, and return, in its job."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import BenchError
from bench.plugins.declared import Checks, shown

__all__ = ["ScoreContractError", "check_scores", "score_problems"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"


class ScoreContractError(BenchError):
    """A score returned something else than one finite number per item."""


def score_problems(score: Any) -> list[str]:
    """What of a score, an instance of `bench.scores.spec.Score` with its defaults, breaks its contract."""
    from bench.scores.spec import OUTPUTS

    checks = Checks(score)
    checks.name("name", _NAME, "letters, digits, '_' and '-', first a letter or digit: it is part of column names")
    for field in ("label", "summary", "source"):
        checks.text(field)
    checks.version()
    checks.flag("fitted")
    reads = checks.value("reads")
    known = (
        isinstance(reads, tuple) and bool(reads) and all(isinstance(name, str) and name in OUTPUTS for name in reads)
    )
    checks.expect("reads", known, f"a tuple of {', '.join(map(repr, OUTPUTS))}")
    checks.ask(
        "definition",
        lambda: score.definition,
        lambda text: isinstance(text, str) and text.strip() != "",
        "a text that says something",
    )
    return checks.problems


def check_scores(name: str, values: object, items: int, empty: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The scores that a plug-in returned, in float64.

    Args:
        name: Name of the score.
        values: Its return value.
        items: Number of items that it got.
        empty: Items whose log-density is -inf, shape (items,); their score may be -inf.

    Raises:
        ScoreContractError: They are not a vector of that length of numbers that are finite.
    """
    if not isinstance(values, np.ndarray):
        raise ScoreContractError(f"score {name!r} returned {shown(values)}, expected a NumPy array of shape ({items},)")
    if values.shape != (items,) or values.dtype.kind not in "fiu":
        raise ScoreContractError(
            f"score {name!r} returned shape {values.shape} of {values.dtype}, expected real numbers of shape ({items},)"
        )
    scores = values.astype(np.float64)
    bad = int((~(np.isfinite(scores) | (np.isneginf(scores) & empty))).sum())
    if bad:
        raise ScoreContractError(f"score {name!r} returned {bad} of {items} values that are not finite")
    return scores
