"""Arrays over items that evaluations stored, as figures read them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.report.cells import Results
from bench.suite.figures import DEFAULT_READOUT
from bench.suite.schema import ResolvedFigure, ResolvedModel

__all__ = ["NO_CONFIDENCES", "NO_SCORES", "TEST", "confidences", "scores_of", "stored_sets"]

TEST = "test set"
NO_CONFIDENCES = "no confidences are stored: not run yet, or damaged (see bench status)"
NO_SCORES = "no scores are stored: not run yet, or damaged (see bench status)"
"""Why a figure that reads them cannot be drawn."""


def scores_of(
    model: ResolvedModel, figure: ResolvedFigure, score: str, sets: Sequence[str], results: Results
) -> dict[int, dict[str, NDArray[np.float64]]]:
    """By seed and data set, the test set first, the scores of all items; NaN where an item has none.

    Args:
        model: The model.
        figure: The figure, with its evaluation.
        score: Name of the score.
        sets: Names of the out-of-distribution sets.
        results: The results in the store.
    """
    names = [score, *(f"{score}@{one}" for one in sets)]
    found = results.stored(model, figure.evaluation, "", *names)
    return {
        seed: {name: np.asarray(array, dtype=np.float64) for name, array in zip((TEST, *sets), arrays, strict=True)}
        for seed, arrays in found.items()
    }


def stored_sets(
    figure: ResolvedFigure, scores: Sequence[str], sets: Sequence[str], results: Results
) -> tuple[list[str], str]:
    """The sets of which some model of a figure has stored scores, and a sentence that names the others.

    The files of the others are missing on the machine that measured, or their evaluation was not run.
    """
    found = [
        name
        for name in sets
        if any(scores_of(model, figure, score, (name,), results) for model in figure.models for score in scores)
    ]
    others = [name for name in sets if name not in found]
    return found, f" Without {', '.join(others)}: no scores are stored." if others else ""


def confidences(
    model: ResolvedModel, figure: ResolvedFigure, readout: str, results: Results
) -> dict[int, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """By seed, the confidence of each item and whether it is right, under a read-out.

    Args:
        model: The model.
        figure: The figure, with its evaluation.
        readout: Name of the read-out; the default is the first of the model's family.
        results: The results in the store.
    """
    name = model.family.readouts[0] if readout == DEFAULT_READOUT else readout
    found = results.stored(model, figure.evaluation, "", f"confidence/{name}", f"correct/{name}")
    return {seed: (confidence, correct.astype(np.bool_)) for seed, (confidence, correct) in found.items()}
