"""The negative entropy of the predicted classes as a score of bench, standardised on the training items."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.scores.spec import Arrays, Score, UndefinedScoreError

__all__ = ["ENTROPY", "Entropy"]


class Entropy(Score):
    """How far the entropy of p(y|x) lies below its mean over the training items, in their standard deviations.

    Standardising changes no rank, and shows how a score is fitted.

    Attributes:
        temperature: Divides the logits.
    """

    name: ClassVar[str] = "entropy"
    label: ClassVar[str] = "entropy"
    summary: ClassVar[str] = "Negative entropy of the predicted classes."
    source: ClassVar[str] = "this example"
    reads: ClassVar[tuple[str, ...]] = ("logits",)
    fitted: ClassVar[bool] = True

    temperature: float = Field(1.0, gt=0)

    @property
    def definition(self) -> str:
        """The formula with the temperature."""
        return f"-(H[p(y|x)] - mean) / sd, softmax at T = {self.temperature:g}, mean and sd over training items"

    def fit(self, train: Arrays) -> tuple[float, float]:
        """Mean and standard deviation of the entropies of the training items."""
        entropies = self._entropy(train["logits"])
        if len(entropies) < 2 or entropies.std() == 0:
            raise UndefinedScoreError("the entropies of the training items are all equal")
        return float(entropies.mean()), float(entropies.std())

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:
        """Negative standardised entropies."""
        mean, deviation = fit
        scores: npt.NDArray[np.float64] = -(self._entropy(outputs["logits"]) - mean) / deviation
        return scores

    def _entropy(self, logits: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        scaled = logits.astype(np.float64) / self.temperature
        log_p = scaled - np.logaddexp.reduce(scaled, axis=1, keepdims=True)
        entropies: npt.NDArray[np.float64] = -(np.exp(log_p) * log_p).sum(axis=1)
        return entropies


ENTROPY = Entropy()
