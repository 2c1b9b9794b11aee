"""Checks of an evaluation's declarations, at registration, and in ``check`` for the parameters of a suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

from bench.evaluate.base import (
    TESTS,
    UNITS,
    Column,
    Direction,
    Evaluation,
    EvaluationConfig,
    Judge,
    Need,
    Part,
)
from bench.plugins.declared import Checks, finite, shown
from bench.plugins.locating import missing_reference
from bench.registry import UnknownNameError
from bench.spec import BACKBONES, FAMILIES, FamilySpec

__all__ = ["column_problems", "evaluation_problems", "planned_problems"]

_ID = r"[a-z0-9][a-z0-9-]*"


def evaluation_problems(evaluation: Evaluation) -> list[str]:
    """Violations of the contract by the class attributes of an evaluation."""
    checks = Checks(evaluation)
    checks.name("name", _ID, "lower-case letters, digits and '-', first a letter or digit: it is the id in columns")
    for field in ("summary", "source"):
        checks.text(field)
    checks.version()
    for field in ("classifies", "reads_model", "reads_diverged", "skips_absent_sets"):
        checks.flag(field)
    checks.texts("requires", (frozenset, set), "a frozenset of capabilities, such as 'density' or 'samples'")
    schema = checks.value("Config")
    right = isinstance(schema, type) and issubclass(schema, EvaluationConfig)
    if not checks.expect("Config", right, "a subclass of bench.evaluate.base.EvaluationConfig"):
        return checks.problems
    for field in ("dataset_fields", "model_fields"):
        if checks.texts(field, (tuple,), "a tuple of names of fields of Config"):
            for name in checks.value(field):
                if name not in schema.model_fields:
                    checks.say(f"{field}: {name!r} is no field of {schema.__name__}")
    return checks.problems


def planned_problems(evaluation: Evaluation, config: EvaluationConfig, families: Iterable[FamilySpec]) -> list[str]:
    """Violations of the contract by the declarations of an evaluation for one set of parameters.

    Args:
        evaluation: The protocol.
        config: Its parameters.
        families: Families of the models that it will measure.
    """
    checks = Checks(evaluation)
    checks.ask("label(config)", lambda: evaluation.label(config), lambda said: isinstance(said, str), "a text")
    columns = checks.ask("columns(config)", lambda: evaluation.columns(config), _all(Column), "a tuple of Column")
    checks.problems += column_problems(columns or ())
    checks.ask("others(config)", lambda: evaluation.others(config), _all(str), "a tuple of names of models")
    checks.ask("of_itself(config)", lambda: evaluation.of_itself(config), _why, "a text, or None")
    checks.ask(
        "published_sets(config, dataset)",
        lambda: evaluation.published_sets(config, "digits"),
        lambda said: _why(said) or _all(str)(said),
        "a tuple of names of data sets, or a text",
    )
    checks.ask("missing(weights_root)", lambda: evaluation.missing(Path("weights")), _why, "a text, or None")
    parts = checks.ask("parts(config)", lambda: evaluation.parts(config), _all(Part), "a tuple of Part")
    if parts is not None and not parts:
        checks.say("parts(config) is empty: there would be no job")
    for part in parts or ():
        _check_part(evaluation, part, checks)
    names = [part.argument for part in parts or ()]
    for name in dict.fromkeys(name for place, name in enumerate(names) if name in names[:place]):
        checks.say(f"parts(config): the argument {name!r} is there twice")
    for family in {family.name: family for family in families}.values():
        _check_family(evaluation, config, family, checks)
    return checks.problems


def _check_family(evaluation: Evaluation, config: EvaluationConfig, family: FamilySpec, checks: Checks) -> None:
    """Check the declarations on models of one family."""
    whom = f"for {family.name!r}"
    checks.ask(f"not_applicable(family) {whom}", lambda: evaluation.not_applicable(family), _why, "a text, or None")
    checks.ask(
        f"passes(config, items, family) {whom}",
        lambda: evaluation.passes(config, 100, family),
        finite,
        "a finite number of 0 or more",
    )


def _check_part(evaluation: Evaluation, part: Part, checks: Checks) -> None:
    """Check a part, and the declarations on its configuration."""
    of_part = Checks(part, f"the part {shown(part.argument)}")
    of_part.text("argument", empty=True)
    right = of_part.expect("config", isinstance(part.config, evaluation.Config), f"a {evaluation.Config.__name__}")
    checks.problems += of_part.problems
    if not right:
        return
    needs = checks.ask("needs(config)", lambda: evaluation.needs(part.config), _all(Need), "a tuple of Need")
    for need in needs or ():
        asked = Checks(need, f"needs(config): Need({shown(need.split)}, {shown(need.output)})")
        role, _, name = need.split.partition(":") if isinstance(need.split, str) else ("", "", "")
        known = need.split in ("train", "validation", "test") or (role == "ood" and name != "")
        asked.expect("split", known, "'train', 'validation', 'test' or 'ood:<data set>'")
        asked.one_of("output", ("forward", "gradient"))
        checks.problems += asked.problems
    judge = checks.ask(
        "judge(config)",
        lambda: evaluation.judge(part.config),
        lambda j: j is None or isinstance(j, Judge),
        "a Judge, or None",
    )
    if judge is not None:
        checks.problems += _judge_problems(judge)


def _judge_problems(judge: Judge) -> list[str]:
    checks = Checks(judge, "judge(config)")
    for field, registry in (("family", FAMILIES), ("backbone", BACKBONES)):
        reference = getattr(judge, field)
        if not checks.expect(field, isinstance(reference, str), f"the reference of a {field}"):
            continue
        try:
            found: Any = registry.get(reference)
        except UnknownNameError as error:
            checks.say(str(error))
            continue
        missing = missing_reference(found.implementation)
        if missing:
            checks.say(f"{field} {reference!r}: implementation {missing}")
        if field == "family":
            checks.ask(f"the configuration of {reference!r}", found.config, lambda _: True, "")
    return checks.problems


def column_problems(columns: Iterable[Column]) -> list[str]:
    """Violations of the contract of ``Column``, in single columns and between them."""
    problems: list[str] = []
    seen: set[tuple[str, str]] = set()
    primary: dict[str, None] = {}
    for column in columns:
        called = f"{column.metric}{f'@{column.argument}' if column.argument else ''}"
        checks = Checks(column, f"column {shown(called)}")
        checks.name("metric", r"[^@\s]+", "a name without '@' and spaces")
        checks.name("argument", r"[^\x00-\x1f]*", "a text of one line, or none")
        checks.text("label")
        checks.text("group", empty=True)
        checks.one_of("unit", UNITS)
        checks.one_of("direction", (*get_args(Direction), None))
        checks.text("definition")
        checks.flag("primary")
        checks.one_of("test", (*TESTS, None))
        for field in ("readout", "across", "curve"):
            value = getattr(column, field)
            checks.expect(field, value is None or (isinstance(value, str) and value != ""), "a name, or None")
        if column.across is not None and column.curve is not None:
            checks.say("across and curve are both given, expected one of them at most")
        checks.text("axis", empty=True)
        if column.curve is not None and column.axis:
            checks.say("curve and axis are both given, expected one of them at most")
        if (column.curve is not None or column.axis) and not _number(column.argument):
            checks.expect("argument", False, "a number, as the point of a curve")
        problems += checks.problems
        if not checks.problems:
            if (column.metric, column.argument) in seen:
                problems.append(f"column {shown(called)} is there twice")
            seen.add((column.metric, column.argument))
            primary |= {column.metric: None} if column.primary else {}
    if len(primary) > 1:
        shown_names = " and ".join(map(repr, primary))
        problems.append(f"columns {shown_names} are both primary: a column's short name would mean two numbers")
    return list(dict.fromkeys(problems))


def _number(text: object) -> bool:
    from fractions import Fraction

    try:
        Fraction(str(text))
    except (ValueError, ZeroDivisionError):
        return False
    return True


def _all(kind: type) -> Callable[[Any], bool]:
    return lambda values: isinstance(values, tuple | list) and all(isinstance(value, kind) for value in values)


def _why(said: object) -> bool:
    return said is None or (isinstance(said, str) and said != "")
