"""Scores of stored predictions: fitted on those of training items, computed for those of every set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.metrics.predictions import absence, finite_items
from bench.plugins.score_contract import check_scores
from bench.scores.spec import OUTPUTS, Score, UndefinedScoreError

__all__ = ["Fit", "fit_score", "score_items", "undefined"]

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Fit:
    """What a score learnt from training items.

    Attributes:
        value: The result of ``Score.fit``.
        reason: Why the score is not defined for this model, if it is not.
        note: The remark that training items were left out; None if none were.
    """

    value: Any = None
    reason: str | None = None
    note: str | None = None


def undefined(score: Score, arrays: Arrays) -> Fit | None:
    """Why a score is not defined for a model, by the outputs that the model stores; None if it is."""
    absent = [name for name in score.reads if name not in arrays]
    return Fit(reason=f"{score.name} reads {' and '.join(absent)}, and the model does not classify") if absent else None


def fit_score(score: Score, train: Arrays) -> Fit:
    """Fit a score on the training items that have all outputs that it reads; nothing to do if it is not fitted.

    Args:
        score: The score.
        train: The predictions of the training items; not read if the score is not fitted.
    """
    if not score.fitted:
        return Fit()
    present = np.logical_and.reduce([finite_items(train[name]) for name in score.reads])
    absent = int((~present).sum())
    note = absence(absent, len(present), "training items have no finite outputs and are left out of the fit")
    try:
        value = score.fit({name: train[name][present] for name in (*score.reads, "labels")})
    except UndefinedScoreError as error:
        return Fit(reason=f"{score.name}: {error}")
    return Fit(value, note=note if absent else None)


def score_items(score: Score, fit: Fit, arrays: Arrays) -> npt.NDArray[np.float64]:
    """Scores (n,), NaN where an item has none.

    An item has no score if an output that the score reads is NaN or infinite, or if the score reads the forward pass of
    a classifier and the logits are not all finite. A density of zero, log p(x) = -inf, is a log-density like others.

    Args:
        score: The score.
        fit: What it learnt.
        arrays: The predictions of the items.

    Raises:
        ScoreContractError: A plug-in returned something else than a finite number for each item.
    """
    outputs = {name: arrays[name] for name in score.reads if name in arrays}
    present = np.ones(len(arrays["ids"]), dtype=np.bool_)
    if "logits" in arrays and any(OUTPUTS[name] == "forward" for name in outputs):
        present &= finite_items(arrays["logits"])
    for name, array in outputs.items():
        present &= finite_items(array) | (np.isneginf(array) if name == "log_density" else False)
    scores = np.full(len(present), np.nan)
    if fit.reason is None and present.any():
        given = {name: array[present] for name, array in outputs.items()}
        count = int(present.sum())
        empty = np.isneginf(given["log_density"]) if "log_density" in given else np.zeros(count, dtype=np.bool_)
        scores[present] = check_scores(score.name, score.score(given, fit.value), count, empty)
    return scores
