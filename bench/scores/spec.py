"""The base class of scores for out-of-distribution detection: what a score reads, how it is fitted and computed.

A score maps stored outputs of a model to one value per item; higher = in-distribution. It is one frozen object with its
parameters and knows no model. A new score is one module with such a class, registered in `bench.scores.named` or, by
other packages, under the entry-point group ``bench.scores``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from bench.registry import Configured

__all__ = ["OUTPUTS", "Arrays", "Pass", "Score", "UndefinedScoreError"]

Arrays = Mapping[str, npt.NDArray[Any]]
"""Stored outputs of a model by name, with one entry per item."""

Pass: TypeAlias = Literal["forward", "gradient"]
"""A prediction pass, as ``bench.evaluate.base.Need`` names it."""

OUTPUTS: Mapping[str, Pass] = {
    "logits": "forward",
    "features": "forward",
    "log_density": "forward",
    "gradient_norm": "gradient",
}
"""The outputs that scores may read, with the prediction pass that stores each: ``logits`` (n, K), ``features`` (n, d),
``log_density`` (n,) and ``gradient_norm`` (n,), the L2 norm of the input gradient of log p(x). See
``bench.predict.outputs``.
"""


class UndefinedScoreError(ValueError):
    """A score is not defined for the training predictions of a model, such as too few items; the message says why."""


class Score(Configured, ABC):
    """A score with its parameters; those that are not given have their defaults.

    Class attributes:
        name: As written in suites; the first part of column names.
        label: Heading of its columns in tables.
        summary, source: For ``describe``.
        reads: The outputs that it needs, names of `OUTPUTS`.
        fitted: Whether it is fitted on predictions of the training items. ``fit`` then gets the same outputs of these
            items, and their ``labels``.
        version: Raised by hand when a change of code changes a number; None: keys contain the digest of the source. The
            version of the evaluation covers our own scores.
    """

    plugin_kind = "score"

    label: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    reads: ClassVar[tuple[str, ...]]
    fitted: ClassVar[bool] = False
    version: ClassVar[int | None] = None

    @property
    @abstractmethod
    def definition(self) -> str:
        """The formula with all resolved parameters, as printed with a number."""

    def fit(self, train: Arrays) -> Any:  # noqa: ARG002 - for subclasses
        """What ``score`` needs of the training predictions; None for a score that is not fitted.

        Args:
            train: By name the outputs that the score reads, finite, and ``labels`` (n,) in 0 … K-1; n may be 0.

        Raises:
            UndefinedScoreError: The score is not defined for these predictions. The number is then ``n/a`` with the
                message.
        """
        return None

    @abstractmethod
    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:
        """One score per item, shape (n,), finite, higher = in-distribution; n >= 1.

        Args:
            outputs: By name the outputs that the score reads. They are finite, except that a log-density may be -inf: a
                density of zero. The score of such an item may then be -inf, too.
            fit: The result of ``fit``.
        """
