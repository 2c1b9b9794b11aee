"""Out-of-distribution detection: AUROC of the paper's three scores on several data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Need, Number, Outcome
from bench.evaluate.inputs import Inputs
from bench.scores import SCORES, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    """AUROC of separating test items from items of other data sets; ties count half."""

    name = "ood"
    version = 3
    summary = "AUROC of log p(x), max p(y|x) and approximate mass against other data sets."
    source = "GMMC paper, Table 3; JEM paper, Sec. 5.3"
    Config = OODConfig
    dataset_fields = ("sets",)

    def needs(self, config: OODConfig) -> tuple[Need, ...]:
        """The outputs that the scores read, on the test set and on every other set."""
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
        """Compute AUROCs from stored predictions; an item without a score is ranked wrongly against the other set."""
        numbers = []
        for score in config.scores:
            rule = SCORES[score]
            output: Literal["forward", "gradient"] = "gradient" if rule.output == "gradient_norm" else "forward"
            inside = _scored(rule, inputs.outputs("test", output))
            for name in config.sets:
                outside = _scored(rule, inputs.outputs(f"ood:{name}", output))
                numbers.append(_number(score, name, inside, outside))
        return Outcome(numbers)


def _scored(rule: Score, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Scores (n,), NaN where an item has none.

    An item has no score if its logits are not all finite, or if the stored output or the score is NaN or infinite. A
    density of zero, log p(x) = -inf, is the lowest score.
    """
    import numpy as np

    from bench.metrics.predictions import finite_items

    values = arrays[rule.output]
    present = finite_items(arrays["logits"]) if "logits" in arrays else np.ones(len(values), dtype=np.bool_)
    present &= finite_items(values) | (np.isneginf(values) if rule.output == "log_density" else False)
    scores = np.full(len(values), np.nan)
    if present.any():
        scores[present] = rule.function(values[present])
    return scores


def _number(score: str, name: str, inside: NDArray[np.float64], outside: NDArray[np.float64]) -> Number:
    import numpy as np

    from bench.metrics.auroc_inference import auroc_interval
    from bench.metrics.ood import auroc, missing_as_wrong
    from bench.metrics.predictions import absence

    sizes = {"test": inside, name: outside}
    absent = {which: int(np.isnan(scores).sum()) for which, scores in sizes.items()}
    said = {which: absence(absent[which], len(sizes[which]), f"{which} items have no finite score") for which in sizes}
    lost = [said[which] for which in sizes if absent[which] == len(sizes[which])]
    some = [said[which] for which in sizes if absent[which]]
    ranks = missing_as_wrong(inside, outside)
    # The variance is over items of both sets and needs at least two of each.
    alone = [f"{len(scores):,} {which} item" for which, scores in sizes.items() if len(scores) < 2]
    remarks = [f"{' and '.join(some)}, and count as ranked wrongly"] if some else []
    remarks += [f"no interval: {' and '.join(alone)}"] if alone else []
    return Number(
        metric=f"{score}.auroc",
        argument=name,
        value=None if lost else auroc(*ranks),
        n=len(inside) + len(outside),
        interval=None if lost or alone else auroc_interval(*ranks),
        definition=_definition(score, name),
        reason=" and ".join(lost) or None,
        not_finite=sum(absent.values()),
        note=None if lost else "; ".join(remarks) or None,
    )


def _definition(score: str, name: str) -> str:
    return f"auroc[{SCORES[score].definition}; test set against {name}; higher = in-distribution]"
