"""Accuracy on the clean test set."""

from __future__ import annotations

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Need, Number, Outcome
from bench.evaluate.inputs import Inputs

__all__ = ["Accuracy", "AccuracyConfig"]

DEFINITION = "accuracy[argmax of logits, clean test set, no noise]"


class AccuracyConfig(EvaluationConfig):
    """No parameters of its own."""


class Accuracy(Evaluation):
    """Share of test items whose largest logit is that of their class."""

    name = "accuracy"
    version = 1
    summary = "Share of clean test items that are classified correctly."
    source = "GMMC paper, Tables 1 and 2"
    Config = AccuracyConfig

    def needs(self, config: AccuracyConfig) -> tuple[Need, ...]:  # noqa: ARG002
        """Logits on the test set."""
        return (Need("test", "forward"),)

    def columns(self, config: AccuracyConfig) -> tuple[Column, ...]:  # noqa: ARG002
        """One number."""
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
        """From stored logits."""
        from bench.metrics.intervals import wilson

        arrays = inputs.outputs("test")
        correct = arrays["logits"].argmax(axis=1) == arrays["labels"]
        n, right = len(correct), int(correct.sum())
        number = Number(
            metric="accuracy",
            value=right / n,
            n=n,
            interval=wilson(right, n),
            definition=DEFINITION,
            items="correct",
        )
        return Outcome([number], {"ids": arrays["ids"], "correct": correct})
