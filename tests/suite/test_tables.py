from __future__ import annotations

from bench.evaluate.base import EVALUATIONS
from bench.suite.schema import ResolvedEvaluation
from bench.suite.tables import named_columns


def evaluation(kind: str, id_: str | None = None, **values: object) -> ResolvedEvaluation:
    found = EVALUATIONS.get(kind)
    return ResolvedEvaluation(id_ or kind, found, found.Config.model_validate(values), kind)


ALL = [
    evaluation("accuracy"),
    evaluation("calibration"),
    evaluation("pgd", "pgd-40", eps=("8/255", "16/255")),
    evaluation("ood", sets=("svhn", "uniform")),
]


def resolved(name: str) -> tuple[str, str, str] | None:
    found = named_columns(ALL).get(name)
    return None if found is None else (found.evaluation.id, found.column.metric, found.column.argument)


def test_long_and_short_forms() -> None:
    assert resolved("accuracy") == resolved("accuracy.accuracy") == ("accuracy", "accuracy", "")
    assert resolved("pgd-40@8/255") == resolved("pgd-40.ce@8/255") == ("pgd-40", "ce", "8/255")
    assert resolved("pgd-40.margin@16/255") == ("pgd-40", "margin", "16/255")
    assert resolved("calibration") == resolved("calibration.ece") == ("calibration", "ece", "")
    assert resolved("calibration@fitted") == ("calibration", "ece", "fitted")
    assert resolved("ood.max-probability.auroc@svhn") == ("ood", "max-probability.auroc", "svhn")


def test_no_other_name_is_a_column() -> None:
    for name in ("pgd-40", "pgd-40@4/255", "pgd-40.ce", "margin@8/255", "pgd@8/255", "ood@", "accuracy@", ""):
        assert resolved(name) is None, name


def test_every_listed_name_resolves_to_a_column_of_its_own() -> None:
    every = {resolved(name) for name in named_columns(ALL)}
    assert every == {(e.id, c.metric, c.argument) for e in ALL for c in e.evaluation.columns(e.config)}


def test_the_argument_is_normalised_like_the_parameter() -> None:
    """eps = ["0.5"] is one budget however it is written; the column has the canonical text."""
    one = evaluation("pgd", eps=("0.50",))
    assert list(named_columns([one]))[1] == "pgd@0.5"
