from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from bench.evaluate.base import Need
from bench.evaluate.ood import OOD, OODConfig
from bench.evaluate.ood_scores import Fit, score_items
from bench.evaluate.outcome import check_outcome
from bench.metrics.intervals import wilson_ends
from bench.metrics.ood import auroc, average_precision, fpr_at_tpr
from bench.plugins.score_contract import ScoreContractError
from bench.scores.spec import Score


def forward(log_density: list[float], logits: list[list[float]] | None = None) -> dict[str, Any]:
    rows = [[0.0, 0.0]] * len(log_density) if logits is None else logits
    return {"log_density": np.array(log_density), "logits": np.array(rows, dtype=np.float32), **items(len(rows))}


def gradient(norms: list[float]) -> dict[str, Any]:
    return {"gradient_norm": np.array(norms), **items(len(norms))}


def items(count: int) -> dict[str, Any]:
    return {"ids": 100 + np.arange(count), "labels": np.arange(count) % 2}


def test_by_hand_with_a_tie(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    """Of six pairs the test item is above in four and equal in one."""
    config = OODConfig(sets=("svhn",), scores=("log-density",))
    outputs = {"test/forward": forward([3, 2, 1]), "ood:svhn/forward": forward([0, 2])}
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    (number,) = outcome.numbers
    assert number.value == pytest.approx(4.5 / 6)
    assert number.n == 5
    assert number.interval is not None
    # DeLong: placements (1, .75, .5) and (1, .5); variances 1/16 over 3 and 1/8 over 2. An area of .75 with variance
    # 1/48 + 1/16 = 1/12 is a proportion of .75 * .25 * 12 = 2.25 trials; the limits are 2 and 2 (1 + 2 * .25 / 1.96^2).
    ends = wilson_ends(0.75, 2.25, 1.959964)
    assert (number.interval.low, number.interval.high) == pytest.approx(ends, abs=1e-6)


def test_a_set_whose_files_are_missing_costs_no_other_number(
    given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    config = OODConfig(
        sets=("near", "far"), scores=("log-density",), groups={"both": ("near", "far"), "one": ("near",)}
    )
    outputs = {"test/forward": forward([3, 2, 1]), "ood:near/forward": forward([0, 2])}
    inputs = given(outputs)
    inputs.task = replace(inputs.task, absent_sets={"far": "far.zip not found"})
    outcome = OOD().evaluate(config, inputs)
    keeps_its_word(OOD(), config, outcome)
    found = {number.argument: (number.value, number.reason) for number in outcome.numbers}
    value = pytest.approx(4.5 / 6)
    missing = (None, "far.zip not found")
    assert found == {"near": (value, None), "far": missing, "both": missing, "one": (value, None)}
    assert set(outcome.sets) == {"near"}


def test_each_score_reads_its_own_output(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    """Higher density, more certain prediction and smaller gradient mean in-distribution."""
    config = OODConfig(sets=("near", "far"))
    outputs = {
        "test/forward": forward([1, 2], [[9.0, 0], [8, 0]]),
        "test/gradient": gradient([0.1, 0.3]),
        "ood:near/forward": forward([3, 4], [[1.0, 0], [8.5, 0]]),
        "ood:near/gradient": gradient([0.2, 0.4]),
        "ood:far/forward": forward([-3, -4], [[0.0, 0], [1, 0]]),
        "ood:far/gradient": gradient([5.0, 6.0]),
    }
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    assert {(number.metric, number.argument): number.value for number in outcome.numbers} == {
        ("log-density.auroc", "near"): 0.0,
        ("log-density.auroc", "far"): 1.0,
        ("max-probability.auroc", "near"): 0.75,
        ("max-probability.auroc", "far"): 1.0,
        ("approximate-mass.auroc", "near"): 0.75,
        ("approximate-mass.auroc", "far"): 1.0,
    }


def test_certain_predictions_are_still_ranked(given: Callable[..., Any]) -> None:
    """Probabilities that all round to 1 in float32 keep their order through the log-odds."""
    config = OODConfig(sets=("other",), scores=("max-probability",))
    outputs = {
        "test/forward": forward([0, 0], [[300.0, 0], [200, 0]]),
        "ood:other/forward": forward([0, 0], [[100.0, 0], [150, 0]]),
    }
    assert OOD().evaluate(config, given(outputs)).numbers[0].value == 1.0


def test_it_asks_for_no_more_than_its_scores_read() -> None:
    assert OOD().needs(OODConfig(sets=("a",), scores=("log-density", "max-probability"))) == (
        Need("test", "forward"),
        Need("ood:a", "forward"),
    )
    assert OOD().needs(OODConfig(sets=("a", "b"), scores=("approximate-mass",))) == (
        Need("test", "gradient"),
        Need("ood:a", "gradient"),
        Need("ood:b", "gradient"),
    )
    assert set(OOD().needs(OODConfig(sets=("a",)))) == {
        Need(split, output) for split in ("test", "ood:a") for output in ("forward", "gradient")
    }


def test_the_first_score_is_the_primary_one() -> None:
    columns = OOD().columns(OODConfig(sets=("a",), scores=("max-probability", "log-density")))
    assert [(column.metric, column.primary) for column in columns] == [
        ("max-probability.auroc", True),
        ("log-density.auroc", False),
    ]
    assert "test set against a" in columns[0].definition


def test_profiles_know_where_data_sets_are_named() -> None:
    assert OOD.dataset_fields == ("sets", "groups")
    with pytest.raises(ValidationError, match="sets"):
        OODConfig(sets=())


@pytest.mark.parametrize(("inside", "outside", "alone"), [([3.0], [2, 3], "test"), ([2.0, 3], [2], "svhn")])
def test_one_item_of_a_set_has_an_area_and_no_interval(
    given: Callable[..., Any],
    keeps_its_word: Callable[..., None],
    inside: list[float],
    outside: list[float],
    alone: str,
) -> None:
    """Of two pairs one is right and one a tie; the variance over a single item is unknown."""
    config = OODConfig(sets=("svhn",), scores=("log-density",))
    outputs = {"test/forward": forward(inside), "ood:svhn/forward": forward(outside)}
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    (number,) = outcome.numbers
    assert (number.value, number.n, number.interval) == (0.75, 3, None)
    assert number.note == f"no interval: 1 {alone} item"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_item_without_a_score_is_ranked_wrongly_against_all_others(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], bad: float
) -> None:
    """Three test items far above two others make 1; without a score of one on each side two of six pairs remain."""
    config = OODConfig(sets=("svhn",))
    logits = {"test": [[9.0, 0]] * 2 + [[bad, 0]], "svhn": [[1.0, 0], [bad, bad]]}
    outputs = {
        "test/forward": forward([9, 8, bad], logits["test"]),
        "ood:svhn/forward": forward([1, bad], logits["svhn"]),
        "test/gradient": gradient([0.1, 0.1, bad]),
        "ood:svhn/gradient": gradient([3.0, bad]),
    }
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    assert len(outcome.numbers) == 3
    for number in outcome.numbers:
        assert number.value == pytest.approx(2 / 6)
        assert (number.n, number.not_finite) == (5, 2)
        assert number.note == (
            "1 of 3 test items have no finite score and 1 of 2 svhn items have no finite score, "
            "and count as ranked wrongly"
        )


def test_logits_that_are_not_finite_give_no_density_either(given: Callable[..., Any]) -> None:
    """A logit of +inf makes log p(x) = +inf, which would rank the item as the most in-distribution of all."""
    config = OODConfig(sets=("svhn",), scores=("log-density", "max-probability"))
    outputs = {
        "test/forward": forward([np.inf, 5], [[np.inf, 0], [5.0, 0]]),
        "ood:svhn/forward": forward([-np.inf, 1], [[-np.inf, -np.inf], [1.0, 0]]),
    }
    outcome = OOD().evaluate(config, given(outputs))
    assert [number.value for number in outcome.numbers] == [0.25, 0.25]
    assert [number.not_finite for number in outcome.numbers] == [2, 2]


def test_a_density_of_zero_is_the_lowest_score(given: Callable[..., Any]) -> None:
    config = OODConfig(sets=("svhn",), scores=("log-density",))
    outputs = {"test/forward": forward([3, 2]), "ood:svhn/forward": forward([-np.inf, -np.inf])}
    (number,) = OOD().evaluate(config, given(outputs)).numbers
    assert (number.value, number.not_finite, number.note) == (1.0, 0, None)


@pytest.mark.parametrize("which", ["test", "svhn"])
def test_a_set_without_any_score_gives_a_reason(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], which: str
) -> None:
    config = OODConfig(sets=("svhn",), scores=("log-density", "max-probability"))
    some, none = forward([1, 2, 3]), forward([np.nan] * 4, [[np.nan, 0.0]] * 4)
    outputs = {"test/forward": none, "ood:svhn/forward": some}
    if which == "svhn":
        outputs = {"test/forward": some, "ood:svhn/forward": none}
    outcome = OOD().evaluate(config, given(outputs))
    keeps_its_word(OOD(), config, outcome)
    assert {n.value for n in outcome.numbers} == {None}
    assert {n.reason for n in outcome.numbers} == {f"4 of 4 {which} items have no finite score"}


def cloud(seed: int, n: int, shift: float = 0.0) -> dict[str, Any]:
    """Predictions of a linear head on features around two centers, moved away from both by ``shift``."""
    generator = np.random.default_rng(seed)
    ids = items(n)
    centers = np.array([[4.0, 0, 0, 0], [-4.0, 0, 0, 0]])
    features = centers[ids["labels"]] + generator.normal(size=(n, 4)) + [0, 0, shift, shift]
    logits = features @ centers.T
    return {"logits": logits, "features": features, "log_density": np.logaddexp.reduce(logits, axis=1), **ids}


METRICS = ("auroc", "fpr95-out", "fpr95-in", "aupr-out", "aupr-in")


def test_every_metric_of_every_set_and_group(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    config = OODConfig(
        sets=("near", "far"),
        scores=("mahalanobis", "knn"),
        metrics=METRICS,
        params={"knn": {"k": 3}},
        groups={"all": ("near", "far"), "one": ("far",)},
    )
    sets = {"near": cloud(2, 320, 0.5), "far": cloud(3, 350, 3.0)}
    outputs = {"train/forward": cloud(0, 200), "test/forward": cloud(1, 310)}
    inputs = given({**outputs, **{f"ood:{name}/forward": arrays for name, arrays in sets.items()}})
    outcome = check_outcome(OOD(), config, OOD().evaluate(config, inputs))
    keeps_its_word(OOD(), config, outcome)
    found = {(number.metric, number.argument): number for number in outcome.numbers}
    assert len(found) == 2 * 5 * 4
    inside = outcome.arrays["knn"]
    for name in sets:
        outside = outcome.arrays[f"knn@{name}"]
        truth = {
            "auroc": auroc(inside, outside),
            "fpr95-out": fpr_at_tpr(inside, outside, positive="out"),
            "fpr95-in": fpr_at_tpr(inside, outside, positive="in"),
            "aupr-out": average_precision(inside, outside, positive="out"),
            "aupr-in": average_precision(inside, outside, positive="in"),
        }
        assert {metric: found[f"knn.{metric}", name].value for metric in METRICS} == pytest.approx(truth)
    for metric in METRICS:
        values = [found[f"knn.{metric}", name].value for name in sets]
        mean = found[f"knn.{metric}", "all"]
        assert mean.value == pytest.approx(np.mean(values))
        assert mean.n == 310 + 320 + 350
        assert "mean over near, far of" in mean.definition
        assert found[f"knn.{metric}", "one"].value == found[f"knn.{metric}", "far"].value
    assert found["knn.auroc", "near"].value < found["knn.auroc", "far"].value
    assert {metric: found[f"knn.{metric}", "far"].interval is not None for metric in METRICS} == {
        "auroc": True, "fpr95-out": True, "fpr95-in": True, "aupr-out": False, "aupr-in": False
    }  # fmt: skip
    assert "no interval" in str(found["knn.aupr-in", "far"].note)
    assert "310 test, 350 far items, chance 47.0%" in str(found["knn.aupr-in", "far"].note)
    assert found["knn.auroc", "all"].interval.kind == "wilson, delong variance"
    assert "none of a mean of FPR95" in str(found["knn.fpr95-in", "all"].note)


def test_few_items_have_no_interval_of_the_fpr(given: Callable[..., Any]) -> None:
    config = OODConfig(sets=("far",), scores=("log-density",), metrics=("fpr95-in",))
    outputs = {"test/forward": cloud(1, 40), "ood:far/forward": cloud(2, 310)}
    (number,) = OOD().evaluate(config, given(outputs)).numbers
    assert number.interval is None
    assert number.note == "no interval: 40 test items, fewer than 300"


def test_scores_of_all_items_are_stored_by_name(given: Callable[..., Any]) -> None:
    config = OODConfig(sets=("a/b.npz", "svhn"), scores=("log-density", "max-logit"))
    outputs = {"test/forward": forward([3, np.nan]), "ood:a/b.npz/forward": forward([1, 2, 0])}
    outputs["ood:svhn/forward"] = forward([-np.inf])
    outcome = check_outcome(OOD(), config, OOD().evaluate(config, given(outputs)))
    assert set(outcome.arrays) == {
        f"{array}{which}" for array in ("ids", "log-density", "max-logit") for which in ("", "@a/b.npz", "@svhn")
    }
    np.testing.assert_array_equal(outcome.arrays["log-density"], [3, np.nan])
    np.testing.assert_array_equal(outcome.arrays["log-density@a/b.npz"], [1, 2, 0])
    np.testing.assert_array_equal(outcome.arrays["log-density@svhn"], [-np.inf])
    np.testing.assert_array_equal(outcome.arrays["ids@a/b.npz"], [100, 101, 102])


def test_the_stored_scores_give_the_numbers_again(given: Callable[..., Any]) -> None:
    config = OODConfig(sets=("far",), scores=("log-density",))
    outputs = {"test/forward": cloud(1, 40), "ood:far/forward": cloud(2, 50, 1.0)}
    outcome = OOD().evaluate(config, given(outputs))
    assert outcome.numbers[0].value == auroc(outcome.arrays["log-density"], outcome.arrays["log-density@far"])


def test_fitted_scores_read_the_training_items() -> None:
    assert OOD().needs(OODConfig(sets=("a",), scores=("log-density", "knn"))) == (
        Need("train", "forward"),
        Need("test", "forward"),
        Need("ood:a", "forward"),
    )


def test_training_items_without_outputs_are_left_out_of_the_fit(given: Callable[..., Any]) -> None:
    config = OODConfig(sets=("far",), scores=("mahalanobis",))
    train = cloud(0, 60)
    outputs = {"test/forward": cloud(1, 40), "ood:far/forward": cloud(2, 50, 1.0)}
    clean = OOD().evaluate(config, given({**outputs, "train/forward": {k: v[:59] for k, v in train.items()}}))
    train["features"][59] = np.inf
    (number,) = OOD().evaluate(config, given({**outputs, "train/forward": train})).numbers
    assert number.value == clean.numbers[0].value
    assert number.note == "1 of 60 training items have no finite outputs and are left out of the fit"
    assert number.not_finite == 0


def test_a_score_that_is_not_defined_says_why(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    """Forty training items have no fiftieth neighbour; the other score is not affected."""
    config = OODConfig(sets=("far",), scores=("knn", "log-density"), groups={"all": ("far",)})
    outputs = {"train/forward": cloud(0, 40), "test/forward": cloud(1, 40), "ood:far/forward": cloud(2, 50, 1.0)}
    outcome = check_outcome(OOD(), config, OOD().evaluate(config, given(outputs)))
    keeps_its_word(OOD(), config, outcome)
    reasons = {(number.metric, number.argument): number.reason for number in outcome.numbers}
    said = "knn: k = 50 neighbours of 40 training items with finite features"
    assert reasons == {
        ("knn.auroc", "far"): said,
        ("knn.auroc", "all"): said,
        ("log-density.auroc", "far"): None,
        ("log-density.auroc", "all"): None,
    }


def test_logits_do_not_decide_whether_an_item_has_a_gradient(given: Callable[..., Any]) -> None:
    """The number of a score is the same whichever other scores the evaluation has."""
    outputs = {
        "test/forward": forward([9, 8], [[np.nan, 0], [9.0, 0]]),
        "ood:svhn/forward": forward([1, 1], [[1.0, 0], [2.0, 0]]),
        "test/gradient": gradient([0.1, 0.2]),
        "ood:svhn/gradient": gradient([3.0, 0.15]),
    }
    alone = OOD().evaluate(OODConfig(sets=("svhn",), scores=("approximate-mass",)), given(outputs)).numbers
    both = OOD().evaluate(OODConfig(sets=("svhn",), scores=("log-density", "approximate-mass")), given(outputs)).numbers
    assert both[1].value == alone[0].value == 0.75


def test_scores_like_log_densities_are_not_flattened(given: Callable[..., Any]) -> None:
    """A sigmoid before ranking makes ties of scores below -37 and above 37, and an AUROC of one half."""
    generator = np.random.default_rng(0)
    outputs = {
        "test/forward": forward(generator.normal(200, 20, 2000).tolist()),
        "ood:far/forward": forward(generator.normal(150, 37, 2000).tolist()),
    }
    config = OODConfig(sets=("far",), scores=("log-density",), metrics=METRICS)
    found = {number.metric.partition(".")[2]: number.value for number in OOD().evaluate(config, given(outputs)).numbers}
    assert found["auroc"] == pytest.approx(0.8826, abs=0.015)  # Phi(50 / sqrt(20^2 + 37^2))
    assert found["fpr95-in"] == pytest.approx(0.3214, abs=0.05)  # Phi((150 - 167.1) / 37)
    assert found["aupr-in"] > 0.8


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scores": ("density",)}, "unknown score 'density'; did you mean 'log-density'"),
        ({"params": {"knn": {"k": 1}}}, "'knn' is not among the scores"),
        ({"scores": ("knn",), "params": {"knn": {"neighbours": 1}}}, "score 'knn' has no parameter 'neighbours'"),
        ({"groups": {"near": ("svnh",)}}, "'svnh' in 'near' is not among the sets; did you mean 'svhn'"),
        ({"groups": {"near": ()}}, "'near' is empty"),
        ({"groups": {"svhn": ("svhn",)}}, "'svhn' cannot be the name of a group"),
        ({"groups": {"a@b": ("svhn",)}}, "'a@b' cannot be the name of a group"),
        ({"metrics": ("auc",)}, "metrics"),
    ],
)
def test_mistakes_in_parameters_are_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OODConfig(sets=("svhn",), **fields)


class Flawed(Score):
    """A score that breaks its contract on purpose."""

    name: ClassVar[str] = "flawed"
    label: ClassVar[str] = "flawed"
    summary: ClassVar[str] = "Breaks its contract."
    source: ClassVar[str] = "this test"
    reads: ClassVar[tuple[str, ...]] = ("logits",)

    returns: Any = None

    @property
    def definition(self) -> str:
        return "flawed"

    def score(self, outputs: Any, fit: Any) -> Any:
        return self.returns


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "score 'flawed' returned None, expected a NumPy array of shape (2,)"),
        (np.zeros(3), "returned shape (3,) of float64, expected real numbers of shape (2,)"),
        (np.zeros((2, 1)), "returned shape (2, 1)"),
        (np.array(["a", "b"]), "returned shape (2,) of <U1"),
        (np.array([1.0, np.nan]), "returned 1 of 2 values that are not finite"),
        (np.array([-np.inf, np.inf]), "returned 2 of 2 values that are not finite"),
    ],
)
def test_a_score_that_breaks_its_contract_is_named(returned: Any, said: str) -> None:
    with pytest.raises(ScoreContractError, match=re.escape(said)):
        score_items(Flawed(returns=returned), Fit(), forward([1, 2]))
