"""What an evaluation declares is looked at before anything runs: every field, by name, with what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from bench.errors import SuiteError
from bench.evaluate.base import EVALUATIONS, Column
from bench.evaluate.declared import column_problems, evaluation_problems, planned_problems
from bench.registry import UnknownNameError
from bench.spec import FAMILIES
from tests.conftest import TINY, Project, Site

RIGHT: dict[str, Any] = {"metric": "mean", "label": "m", "unit": "1", "direction": "up", "definition": "the mean"}

MODULE = """\
from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Judge, Need, Outcome, Part


class Mine(Evaluation):
    name = "mine"
    summary = "One sentence."
    source = "a paper"
    Config = EvaluationConfig

    def columns(self, config):
        return (Column(metric="mean", label="m", unit="1", direction="up", definition="the mean", primary=True),)

    def evaluate(self, config, inputs):
        return Outcome([])


class Changed(Mine):
{body}


MINE = Changed()
"""


@pytest.mark.parametrize("evaluation", list(EVALUATIONS.values()), ids=lambda one: one.name)
def test_ours_keep_the_contract(evaluation: Any) -> None:
    assert evaluation_problems(evaluation) == []
    required = {"eps": ("8/255",), "sets": ("svhn",), "source": "softmax", "attack": "torchattacks.APGD"}
    schema = evaluation.Config
    values = {name: required[name] for name, info in schema.model_fields.items() if info.is_required()}
    if evaluation.name == "attack":
        values["eps"] = ("8/255",)
    assert planned_problems(evaluation, schema.model_validate(values), FAMILIES.values()) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("direction", "lower", "column 'mean': direction is 'lower', expected 'up' or 'down' or None"),
        ("direction", True, "column 'mean': direction is True, expected 'up' or 'down' or None"),
        ("unit", "percent", "unit is 'percent', expected 'fraction' or 'auroc' or 'l2' or '1'"),
        ("unit", 1, "unit is 1, expected"),
        ("test", "t-test", "test is 't-test', expected 'mcnemar' or 'permutation' or 'auroc' or None"),
        ("definition", "", "definition is '', expected a text that says something"),
        ("definition", None, "definition is None"),
        ("definition", 3, "definition is 3"),
        ("label", "", "label is ''"),
        ("group", None, "group is None"),
        ("metric", "a@b", "metric is 'a@b', expected a name without '@' and spaces"),
        ("metric", "", "metric is ''"),
        ("argument", 8, "argument is 8"),
        ("primary", 1, "primary is 1, expected True or False"),
        ("readout", "", "readout is '', expected a name, or None"),
        ("across", 1, "across is 1"),
        ("curve", "", "curve is ''"),
        ("axis", 3, "axis is 3"),
    ],
)
def test_a_field_of_a_column(field: str, value: Any, message: str) -> None:
    first, *others = column_problems([Column(**{**RIGHT, field: value})])
    assert message in first
    assert bool(others) == (field in ("curve", "axis"))  # such a column has no number for its argument, either


def test_what_columns_are_to_each_other() -> None:
    mean, other = Column(**RIGHT), Column(**{**RIGHT, "metric": "other"})
    assert column_problems([mean, other]) == []
    assert column_problems([mean, mean]) == ["column 'mean' is there twice"]
    primary = [Column(**{**RIGHT, "metric": name, "primary": True}) for name in ("a", "b")]
    assert column_problems(primary)[0].startswith("columns 'a' and 'b' are both primary")
    assert "argument is 'x', expected a number" in column_problems([Column(**RIGHT, argument="x", curve="l2")])[0]
    assert "argument is 'x', expected a number" in column_problems([Column(**RIGHT, argument="x", axis="level")])[0]
    assert column_problems([Column(**RIGHT, argument="3", axis="level")]) == []
    assert (
        "curve and axis are both given" in column_problems([Column(**RIGHT, argument="1", curve="l2", axis="level")])[0]
    )
    assert (
        "across and curve are both given"
        in column_problems([Column(**RIGHT, argument="1", curve="l2", across="l2")])[0]
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("columns = lambda self, config: 1 / 0", "columns(config) raises ZeroDivisionError: division by zero"),
        ("columns = lambda self, config: None", "columns(config) is None, expected a tuple of Column"),
        ("columns = lambda self, config: ('mean',)", "columns(config) is ('mean',), expected a tuple of Column"),
        (
            "columns = lambda self, config: [Column(metric='m', label='', unit='1', direction='lower', definition='')]",
            "column 'm': direction is 'lower', expected 'up' or 'down' or None",
        ),
        ("columns = lambda self, config: Mine.columns(self, config) * 2", "column 'mean' is there twice"),
        (
            "passes = lambda self, config, items, family: -1",
            "passes(config, items, family) for 'softmax' is -1, expected",
        ),
        ("passes = lambda self, config, items, family: float('nan')", "is nan, expected a finite number of 0 or more"),
        ("passes = lambda self, config, items, family: '3'", "is '3', expected a finite number"),
        ("label = lambda self, config: None", "label(config) is None, expected a text"),
        ("needs = lambda self, config: 'test'", "needs(config) is 'test', expected a tuple of Need"),
        (
            "needs = lambda self, config: (Need('tset', 'forward'),)",
            "split is 'tset', expected 'train', 'validation', 'test' or",
        ),
        (
            "needs = lambda self, config: (Need('test', 'logits'),)",
            "output is 'logits', expected 'forward' or 'gradient'",
        ),
        ("needs = lambda self, config: (Need('ood:nosuch', 'forward'),)", "unknown data set 'nosuch'"),
        ("parts = lambda self, config: ()", "parts(config) is empty"),
        ("parts = lambda self, config: (Part('a', config),) * 2", "the argument 'a' is there twice"),
        (
            "parts = lambda self, config: (Part('a', None),)",
            "the part 'a': config is None, expected a EvaluationConfig",
        ),
        ("parts = lambda self, config: [1]", "parts(config) is [1], expected a tuple of Part"),
        ("judge = lambda self, config: 'softmax'", "judge(config) is 'softmax', expected a Judge, or None"),
        ("judge = lambda self, config: Judge('nosuch', 'none')", "judge(config): unknown family 'nosuch'"),
        ("others = lambda self, config: 1", "others(config) is 1, expected a tuple of names of models"),
        (
            "not_applicable = lambda self, family: False",
            "not_applicable(family) for 'softmax' is False, expected a text",
        ),
        ("missing = lambda self, weights_root: 1 / 0", "missing(weights_root) raises ZeroDivisionError"),
    ],
)
def test_what_is_declared_for_a_suite_is_found_by_check(project: Project, site: Site, body: str, message: str) -> None:
    site.module("mine", MODULE.format(body=f"    {body}"))
    text = TINY.replace('[[evaluation]]\nkind = "accuracy"', '[[evaluation]]\nkind = "mine:MINE"')
    with pytest.raises(SuiteError) as error:
        project.plan(text)
    found = [problem for problem in error.value.problems if message in problem.message]
    assert found, str(error.value)
    assert (found[0].line, found[0].key) == (21, "evaluation[0].kind")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("name = 'Mine 1'", "name is 'Mine 1', expected lower-case letters"),
        ("name = None", "name is None"),
        ("summary = 3", "summary is 3, expected a text that says something"),
        ("source = ''", "source is ''"),
        ("version = -1", "version is -1, expected a whole number of 0 or more, or None"),
        ("version = '1'", "version is '1'"),
        ("Config = dict", "Config is <class 'dict'>, expected a subclass of bench.evaluate.base.EvaluationConfig"),
        ("requires = 'samples'", "requires is 'samples', expected a frozenset"),
        ("dataset_fields = ('sets',)", "dataset_fields: 'sets' is no field of EvaluationConfig"),
        ("model_fields = 'source'", "model_fields is 'source', expected a tuple"),
        ("reads_model = 1", "reads_model is 1, expected True or False"),
    ],
)
def test_an_evaluation_itself_is_found_broken(site: Site, body: str, message: str) -> None:
    site.module("mine", MODULE.format(body=f"    {body}"))
    with pytest.raises(UnknownNameError, match="evaluation 'mine:MINE' breaks its contract") as error:
        EVALUATIONS.get("mine:MINE")
    assert message in str(error.value)
    site.distribution("a-plug-in", "bench.evaluations", {"mine": "mine:MINE"})
    (entry,) = [entry for entry in EVALUATIONS.entries() if entry.origin == "a-plug-in"]
    assert entry.value is None
    assert message in str(entry.error)
