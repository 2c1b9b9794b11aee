from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bench.evaluate.base import EVALUATIONS, Column, Evaluation, EvaluationConfig, Outcome, Part
from bench.spec import FAMILIES

TYPICAL: dict[str, Any] = {"eps": ("8/255",), "sets": ("svhn",), "source": "softmax", "attack": "pgd"}
"""Values of parameters that have no default."""
BESIDE: dict[str, dict[str, Any]] = {"attack": {"eps": ("8/255",)}}
"""What these values ask for besides, by evaluation."""
EVERY = sorted(EVALUATIONS.names())


class Bare(Evaluation):
    name = "bare"
    summary = source = "for a test"
    Config = EvaluationConfig

    def columns(self, config: EvaluationConfig) -> tuple[Column, ...]:
        return ()

    def evaluate(self, config: EvaluationConfig, inputs: Any) -> Outcome:
        return Outcome([])


def test_what_an_evaluation_need_not_say() -> None:
    bare, config = Bare(), EvaluationConfig()
    assert bare.label(config) == "bare"
    assert bare.needs(config) == ()
    assert bare.parts(config) == (Part("", config),)
    assert bare.passes(config, 10, FAMILIES.get("jem")) == 0
    assert bare.missing(Path("/")) is None
    assert bare.judge(config) is None
    assert bare.not_applicable(FAMILIES.get("softmax")) is None
    assert bare.version is None


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        ({"samples"}, "softmax does not generate"),
        ({"density"}, "softmax has no density model"),
        ({"wings"}, "softmax lacks wings"),
    ],
)
def test_a_lacking_capability_is_a_reason(requires: set[str], reason: str) -> None:
    class Demanding(Bare):
        pass

    Demanding.requires = frozenset(requires)
    family = FAMILIES.get("softmax")
    assert Demanding().not_applicable(family) == reason
    assert Demanding().not_applicable(replace(family, capabilities=frozenset(requires))) is None


@pytest.mark.parametrize("name", EVERY)
def test_what_the_planner_relies_on(name: str) -> None:
    evaluation = EVALUATIONS.get(name)
    required = [key for key, info in evaluation.Config.model_fields.items() if info.is_required()]
    values = {key: TYPICAL[key] for key in required} | BESIDE.get(name, {})
    config = evaluation.Config.model_validate(values)
    assert evaluation.summary
    assert evaluation.source
    columns = evaluation.columns(config)
    assert len({(column.metric, column.argument) for column in columns}) == len(columns)
    assert len({column.metric for column in columns if column.primary}) <= 1
    # A column is found by its definition: no two numbers of one evaluation may share it.
    assert len({column.definition for column in columns}) == len(columns)
    assert {column.unit for column in columns} <= {"fraction", "auroc", "l2", "1"}
    for field in (*evaluation.dataset_fields, *evaluation.model_fields):
        assert field in evaluation.Config.model_fields
    assert all(info.description for info in evaluation.Config.model_fields.values())
    with pytest.raises(ValidationError, match="nonsense"):
        evaluation.Config.model_validate({**values, "nonsense": 1})


@pytest.mark.parametrize(
    ("unit", "within", "bounds"),
    [
        ("fraction", None, (0.0, 1.0)),
        ("auroc", None, (0.0, 1.0)),
        ("l2", None, (0.0, math.inf)),
        ("1", None, (-math.inf, math.inf)),
        ("1", (1.0, math.inf), (1.0, math.inf)),
    ],
)
def test_the_range_of_a_column_is_its_own_or_that_of_its_unit(
    unit: str, within: tuple[float, float] | None, bounds: tuple[float, float]
) -> None:
    column = Column(metric="m", label="m", unit=unit, direction=None, definition="d", within=within)
    assert column.bounds == bounds


def test_every_number_of_ours_that_has_a_range_says_so() -> None:
    """Energies may be anything, and unbiased estimates of a distance may be negative."""
    free = set()
    for name in ("accuracy", "calibration", "ood", "generation", "fid", "energies"):
        evaluation = EVALUATIONS.get(name)
        config = evaluation.Config(**({"sets": ("patches",)} if name == "ood" else {}))
        free |= {(name, c.metric) for c in evaluation.columns(config) if c.bounds == (-math.inf, math.inf)}
    assert free == {("energies", "real"), ("energies", "sampled"), ("fid", "kid"), ("generation", "kcd")}
