"""Accuracy on the clean test set."""

from __future__ import annotations

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Need, Number, Outcome
from bench.evaluate.inputs import Inputs

__all__ = ["Accuracy", "AccuracyConfig"]

DEFINITION = "accuracy[argmax of logits, clean test set, no noise]"


class AccuracyConfig(EvaluationConfig):
    """Accuracy has no parameters other than the common ones."""


class Accuracy(Evaluation):
    """Share of test items whose largest logit is that of their class."""

    name = "accuracy"
    version = 2
    summary = "Share of clean test items that are classified correctly."
    source = "GMMC paper, Tables 1 and 2"
    Config = AccuracyConfig

    def needs(self, config: AccuracyConfig) -> tuple[Need, ...]:  # noqa: ARG002
        """Logits on the test set."""
        return (Need("test", "forward"),)

    def columns(self, config: AccuracyConfig) -> tuple[Column, ...]:  # noqa: ARG002
        """One column, the accuracy."""
        return (
            Column(
                metric="accuracy",
                label="accuracy",
                unit="fraction",
                direction="up",
                definition=DEFINITION,
                primary=True,
                test="mcnemar",
            ),
        )

    def evaluate(self, config: AccuracyConfig, inputs: Inputs) -> Outcome:  # noqa: ARG002
        """Compute the accuracy from stored logits.

        An item without finite logits counts as wrong. A model without any finite logits has no accuracy.
        """
        from bench.metrics.intervals import wilson
        from bench.metrics.predictions import NO_CLASS, absence, predicted_classes

        arrays = inputs.outputs("test")
        predicted = predicted_classes(arrays["logits"])
        correct = predicted == arrays["labels"]
        n, right, absent = len(correct), int(correct.sum()), int((predicted == NO_CLASS).sum())
        said = absence(absent, n, "test items have no finite logits")
        measured = absent < n
        number = Number(
            metric="accuracy",
            value=right / n if measured else None,
            n=n,
            interval=wilson(right, n) if measured else None,
            definition=DEFINITION,
            items="correct" if measured else None,
            reason=None if measured else said,
            not_finite=absent,
            note=f"{said} and count as wrong" if measured and absent else None,
        )
        return Outcome([number], {"ids": arrays["ids"], "correct": correct})
