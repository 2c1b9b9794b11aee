"""Robust accuracies: numbers with verdicts, arrays of items, and means over attack seeds in closed form."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench import attacks
from bench.attacks.diagnostics import gradient_flag, loss_gap_flag
from bench.attacks.verdict import transfer_flag
from bench.data.splits import Splits
from bench.evaluate.base import Evaluation, Number, Outcome
from bench.evaluate.robust.accuracies import AttackSeedsConfig, RobustAccuracies, attack_seeds, item_arrays
from bench.evaluate.robust.adaptive import Adaptive, AdaptiveConfig
from bench.evaluate.robust.attack import NamedAttack, NamedAttackConfig
from bench.evaluate.robust.autoattack import AutoAttack, AutoAttackConfig
from bench.evaluate.robust.eps_sweep import EpsSweep, EpsSweepConfig
from bench.evaluate.robust.kept import ADVERSARIALS
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.evaluate.robust.transfer import Transfer, TransferConfig
from bench.family import Classifier
from bench.metrics.intervals import wilson
from bench.metrics.repeated import repeated_proportion
from bench.spec import FAMILIES

SHORT: dict[str, Any] = {"steps": 4, "step": "eps/1"}

CASES: dict[str, tuple[Evaluation, type[AttackSeedsConfig], dict[str, Any]]] = {
    "pgd": (PGD(), PGDConfig, {"eps": ("8/255",), "losses": ("ce", "margin"), **SHORT, "step": "eps/2"}),
    "adaptive": (Adaptive(), AdaptiveConfig, {"eps": ("8/255",), "restarts": 1, "queries": 5, **SHORT}),
    "autoattack": (AutoAttack(), AutoAttackConfig, {"eps": ("8/255",), "steps": 4, "queries": 5}),
    "eps-sweep": (EpsSweep(), EpsSweepConfig, {"eps": ("4/255", "8/255"), **SHORT}),
    "transfer": (Transfer(), TransferConfig, {"eps": ("8/255",), "source": "other", **SHORT}),
    "attack": (NamedAttack(), NamedAttackConfig, {"eps": ("8/255",), "attack": "torchattacks.PGD"}),
}


def test_a_number_says_what_was_left_and_what_was_checked() -> None:
    robust = np.array([True, False, False, True, False])
    fine = [gradient_flag(0.0, 0.2), loss_gap_flag(robust, {"margin": robust})]
    found = RobustAccuracies("8/255")
    found.add("ce", "first", robust, [gradient_flag(0.5, 1.0), fine[1]])
    found.add("margin", "second", ~robust, fine)
    ce, margin = found.numbers
    assert (ce.metric, ce.argument, ce.definition, ce.n, ce.items) == ("ce", "8/255", "first", 5, "ce")
    assert (ce.value, margin.value) == (2 / 5, 3 / 5)
    assert ce.interval == wilson(2, 5)
    assert (ce.verdict, set(ce.flags)) == ("masked", {"GRAD0"})
    assert (margin.verdict, margin.flags) == ("no warning", {})
    assert found.items["margin"].tolist() == [False, True, True, False, True]
    assert set(found.details["checks"]["margin"]) == {"GRAD0", "LOSSGAP"}
    assert "BLACKBOX" in found.details["not_measured"]["ce"]
    assert not {"GRAD0", "LOSSGAP"} & set(found.details["not_measured"]["ce"])


@pytest.mark.parametrize("flags", [[], [transfer_flag()]])
def test_without_the_indispensable_checks_it_is_inconclusive(flags: list[object]) -> None:
    found = RobustAccuracies("8/255")
    found.add("robust", "text", np.ones(3, dtype=np.bool_), flags)  # type: ignore[arg-type]
    assert found.numbers[0].verdict == "inconclusive"
    assert set(found.numbers[0].flags) == ({"TRANSFER"} if flags else set())


def test_says_of_each_item_what_the_attack_did(ramp: Callable[..., Classifier], pixels: Callable[..., Splits]) -> None:
    """One pixel at 1/2 + 4/255 and at 1/2 + 40/255: the first crosses 1/2, the second moves by eps and does not."""
    test = pixels([0.5 + 4 / 255, 0.5 + 40 / 255]).test
    result = attacks.run(
        "pgd",
        ramp(10.0),
        test.unit_images(),
        test.labels,
        norm="linf",
        eps="8/255",
        seed=0,
        loss="margin",
        step="eps/4",
        steps=40,
    )
    found = item_arrays(result, "margin.")
    assert {name.partition(".")[0] for name in found} == {"margin"}
    kept = {name.partition(".")[2]: values for name, values in found.items()}
    assert kept["prediction"].tolist() == [0, 1]
    np.testing.assert_allclose(kept["linf"], 8 / 255, atol=1e-6)
    np.testing.assert_allclose(kept["norm_l2"], 8 / 255, atol=1e-6)
    # Logits (0, 10 (x - 1/2)) and class 1: the margin is -10 (x - 1/2).
    np.testing.assert_allclose(kept["margin_before"], [-10 * 4 / 255, -10 * 40 / 255], atol=1e-5)
    np.testing.assert_allclose(kept["margin_after"], [10 * 4 / 255, -10 * 32 / 255], atol=1e-5)
    np.testing.assert_allclose(kept["loss"], kept["margin_after"], atol=1e-5)
    assert kept["first_step"][0] >= 0
    assert kept["first_step"][1] == -1
    np.testing.assert_allclose(kept["start_gradient"], 10)
    start = kept["start_p"]
    assert ((start > 1 / (1 + math.exp(10 * 12 / 255))) & (start < 1)).all()
    assert (kept["forwards"] >= 41).all()


@pytest.mark.parametrize("losses", [("ce",), ("ce", "margin")])
def test_pgd_keeps_it_by_loss(
    losses: tuple[str, ...], given: Callable[..., Any], ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> None:
    config = PGDConfig(eps=("8/255",), steps=3, losses=losses)
    outcome = PGD().evaluate(config, given(model=ramp(), splits=pixels([0.4, 0.6, 0.7])))
    for loss in losses:
        assert outcome.items[f"{loss}.loss"].shape == (3,)
        assert np.isfinite(outcome.items[f"{loss}.start_gradient"]).all()


def number(outcome: Outcome, metric: str, argument: str = "8/255") -> Number:
    (found,) = [n for n in outcome.numbers if (n.metric, n.argument) == (metric, argument)]
    return found


@pytest.fixture
def run(
    given: Callable[..., Any], hidden: Classifier, ramp: Callable[..., Classifier], pixels: Callable[..., Splits]
) -> Callable[..., tuple[Any, Outcome]]:
    """Evaluates on pixels at 1/2, whose model changes its mind 3/255 further, without a gradient."""

    def evaluate(case: str, items: int = 40, **more: Any) -> tuple[Any, Outcome]:
        evaluation, schema, fields = CASES[case]
        config = schema(**{**fields, **more})
        splits = pixels([0.5] * items, [0] * items)
        return config, evaluation.evaluate(config, given(model=hidden, splits=splits, others={"other": ramp()}))

    return evaluate


def test_without_a_gradient_the_share_is_that_of_the_random_starts(run: Callable[..., Any]) -> None:
    """Starts are uniform within 8/255 and stay where they are; 5 of 16 lie beyond the decision at 3/255."""
    config, outcome = run("pgd", items=100, attack_seeds=16, losses=("ce",), noise=0)
    ce = number(outcome, "ce")
    assert ce.value == pytest.approx(11 / 16, abs=4 * np.sqrt(11 / 16 * 5 / 16 / 1600))
    flags = outcome.items["ce.seeds"]
    assert flags.shape == (100, 16)
    np.testing.assert_allclose(outcome.items["ce"], flags.mean(axis=1))
    assert ce.value == flags.mean()
    assert ce.interval == repeated_proportion(flags)
    assert ce.interval.high - ce.interval.low < 0.06  # 1,600 independent trials, not 100
    told = outcome.details["attack_seeds"]
    assert told["seeds"] == list(attack_seeds(config))
    assert told["numbers"]["ce"]["values"] == list(flags.mean(axis=0))
    assert told["numbers"]["ce"]["sd"] == pytest.approx(flags.mean(axis=0).std(ddof=1))
    assert (told["numbers"]["ce"]["min"], told["numbers"]["ce"]["max"]) == (
        flags.mean(axis=0).min(),
        flags.mean(axis=0).max(),
    )
    assert number(outcome, "zero-gradient").value == 1
    assert "GRAD0" in ce.flags


@pytest.mark.parametrize("case", CASES)
def test_every_random_attack_is_repeated_and_keeps_its_word(
    case: str, run: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    evaluation = CASES[case][0]
    config, outcome = run(case, attack_seeds=3)
    keeps_its_word(evaluation, config, outcome)
    column = next(c for c in evaluation.columns(config) if c.primary and c.argument == "8/255")
    assert column.test == "permutation"
    assert column.definition.startswith("mean over 3 attack seeds: ")
    found = number(outcome, column.metric)
    flags = outcome.items[f"{found.items}.seeds"]
    assert flags.shape == (40, 3)
    assert found.value == flags.mean()
    assert outcome.details["attack_seeds"]["numbers"][found.items]["values"] == list(flags.mean(axis=0))
    # The gradients of the source take every image to one place; AutoAttack breaks every image.
    if case not in ("transfer", "autoattack"):
        assert len({flags[:, run].tobytes() for run in range(3)}) > 1


@pytest.mark.parametrize("case", CASES)
def test_the_first_seed_is_the_run_of_one_seed(case: str, run: Callable[..., Any]) -> None:
    evaluation = CASES[case][0]
    config, once = run(case)
    _, thrice = run(case, attack_seeds=3)
    assert "attack_seeds" not in config.model_dump(mode="json")  # old keys hold
    assert config == type(config).model_validate_json(json.dumps(config.model_dump(mode="json")))
    assert "attack_seeds" not in once.details
    for column in evaluation.columns(config):
        if column.test is not None:
            assert column.test == "mcnemar"
            name = number(once, column.metric, column.argument).items
            np.testing.assert_array_equal(thrice.items[f"{name}.seeds"][:, 0], once.items[name])


@pytest.mark.parametrize("case", ["pgd", "adaptive", "autoattack", "transfer", "attack"])
def test_the_images_of_every_seed_are_kept(case: str, run: Callable[..., Any]) -> None:
    _, outcome = run(case, attack_seeds=2, adversarials=True)
    metric = "ce" if case == "pgd" else "robust"
    kept = np.load(io.BytesIO(outcome.files[ADVERSARIALS]))
    robust = outcome.items[f"{metric}.seeds"]
    runs, rows = np.nonzero((outcome.items["clean"][:, None] & ~robust).T)
    np.testing.assert_array_equal(kept[f"{metric}.runs"], runs)
    np.testing.assert_array_equal(kept[f"{metric}.ids"], outcome.items["ids"][rows])
    (entry,) = [e for e in outcome.details["adversarials"]["entries"] if e["metric"] == metric]
    assert (entry["broken"], entry["attack_seeds"]) == (len(rows), 2)
    assert (kept[f"{metric}.images"][:, 0, 0, 0] > 0.5 + 3 / 255).all()


def test_the_cost_is_that_of_every_seed() -> None:
    softmax = FAMILIES.get("softmax")
    for evaluation, schema, fields in CASES.values():
        once, many = (evaluation.passes(schema(**fields, attack_seeds=n), 100, softmax) for n in (1, 5))
        assert 4.5 * once < many <= 5 * once


def test_seeds_are_shared_by_models_and_are_those_of_no_neighbour() -> None:
    first = attack_seeds(PGDConfig(eps=("8/255",), attack_seeds=8))
    second = attack_seeds(PGDConfig(eps=("8/255",), attack_seeds=8, seed=1))
    assert len({*first, *second}) == 16
    assert first[:3] == attack_seeds(PGDConfig(eps=("8/255",), attack_seeds=3))


def test_attacks_that_draw_nothing_have_no_seeds() -> None:
    with pytest.raises(ValidationError, match="draws nothing"):
        NamedAttackConfig(attack="pgd", eps=("8/255",), params={"random_start": False}, attack_seeds=2)
    with pytest.raises(ValidationError, match="not for norms"):
        NamedAttackConfig(attack="cw_l2", norm="l2", attack_seeds=2)
    with pytest.raises(ValidationError, match="greater than 0"):
        PGDConfig(eps=("8/255",), attack_seeds=0)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize(
    ("case", "steps"),
    [("pgd", 2), ("adaptive", 2), ("eps-sweep", 1), ("transfer", 1), ("attack", 1)],
)
def test_progress_counts_every_attack_of_every_seed(
    given: Callable[..., Any],
    hidden: Classifier,
    ramp: Callable[..., Classifier],
    pixels: Callable[..., Splits],
    case: str,
    steps: int,
    seeds: int,
) -> None:
    """Each loss of ``pgd`` and each attack of ``adaptive`` (gradients, then Square) is a step of its own."""
    evaluation, schema, fields = CASES[case]
    inputs = given(model=hidden, splits=pixels([0.5] * 8, [0] * 8), others={"other": ramp()})
    evaluation.evaluate(schema(**{**fields, "attack_seeds": seeds}), inputs)
    assert {told["total"] for told in inputs.told} == {steps * seeds}
    done = [told["done"] for told in inputs.told]
    assert done == sorted(done)
    assert set(done) == set(range(1, steps * seeds + 1))
