"""A score of out-of-distribution detection: the gap between the two largest logits.

A suite names it among the ``scores`` of an evaluation of kind ``ood`` as ``"a_skeleton:SCORE"``. To register it under
its name, publish it as a package with

    [project.entry-points."bench.scores"]
    a-skeleton = "a_skeleton:SCORE"
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bench.scores.spec import Arrays, Score

__all__ = ["SCORE", "ASkeleton"]


class ASkeleton(Score):
    """The largest logit less the second largest, computed in float64."""

    name: ClassVar[str] = "a-skeleton"
    label: ClassVar[str] = "a-skeleton"
    summary: ClassVar[str] = "Gap between the two largest logits."
    source: ClassVar[str] = "your paper, section"
    reads: ClassVar[tuple[str, ...]] = ("logits",)

    @property
    def definition(self) -> str:
        """The formula with all parameters."""
        return "z_(1) - z_(2), the two largest logits"

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:
        """(n, K) logits -> (n,); higher = in-distribution."""
        del fit
        ordered = np.sort(outputs["logits"].astype(np.float64), axis=1)
        gaps: npt.NDArray[np.float64] = ordered[:, -1] - ordered[:, -2]
        return gaps


SCORE = ASkeleton()
