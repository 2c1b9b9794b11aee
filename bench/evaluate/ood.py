"""Out-of-distribution detection: AUROC of the paper's three scores on several data sets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Need, Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.scores import SCORES

__all__ = ["OOD", "OODConfig"]

ScoreName = Literal["log-density", "max-probability", "approximate-mass"]
_LABELS = {"log-density": "log p(x)", "max-probability": "max p(y|x)", "approximate-mass": "approx. mass"}


class OODConfig(EvaluationConfig):
    """Parameters of out-of-distribution detection."""

    sets: tuple[str, ...] = Field(min_length=1, description="Out-of-distribution data sets")
    scores: tuple[ScoreName, ...] = Field(
        ("log-density", "max-probability", "approximate-mass"), min_length=1, description="Scores to rank by"
    )


class OOD(Evaluation):
    """AUROC of telling test items from those of other data sets; ties count half."""

    name = "ood"
    version = 1
    summary = "AUROC of log p(x), max p(y|x) and approximate mass against other data sets."
    source = "GMMC paper, Table 3; JEM paper, Sec. 5.3"
    Config = OODConfig
    dataset_fields = ("sets",)

    def needs(self, config: OODConfig) -> tuple[Need, ...]:
        """What each score reads, on the test set and on every other set."""
        outputs: list[Literal["forward", "gradient"]] = []
        for name in config.scores:
            output: Literal["forward", "gradient"] = "gradient" if SCORES[name].output == "gradient_norm" else "forward"
            if output not in outputs:
                outputs.append(output)
        splits = ("test", *(f"ood:{name}" for name in config.sets))
        return tuple(Need(split, output) for split in splits for output in outputs)

    def columns(self, config: OODConfig) -> tuple[Column, ...]:
        """One number for each score and set."""
        return tuple(
            Column(
                metric=f"{score}.auroc",
                argument=name,
                label=name,
                group=_LABELS[score],
                unit="auroc",
                direction="up",
                definition=_definition(score, name),
                primary=score == config.scores[0],
            )
            for score in config.scores
            for name in config.sets
        )

    def evaluate(self, config: OODConfig, inputs: Inputs) -> Outcome:
        """From stored predictions."""
        from bench.metrics.intervals import delong
        from bench.metrics.ood import auroc

        numbers = []
        for score in config.scores:
            rule = SCORES[score]
            output = "gradient" if rule.output == "gradient_norm" else "forward"
            inside = rule.function(inputs.outputs("test", output)[rule.output])
            for name in config.sets:
                outside = rule.function(inputs.outputs(f"ood:{name}", output)[rule.output])
                numbers.append(
                    Number(
                        metric=f"{score}.auroc",
                        argument=name,
                        value=auroc(inside, outside),
                        n=len(inside) + len(outside),
                        interval=delong(inside, outside),
                        definition=_definition(score, name),
                    )
                )
        return Outcome(numbers)


def _definition(score: str, name: str) -> str:
    return f"auroc[{SCORES[score].definition}; test set against {name}; higher = in-distribution]"
