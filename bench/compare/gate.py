"""Rules that a run must keep against a baseline, for continuous integration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from bench.compare.changes import same_data
from bench.compare.differences import Compared, mean_of, means_of, of_weights
from bench.compare.sides import FormerRun, Side, damage_of
from bench.errors import NothingSelectedError, RequestError, did_you_mean
from bench.metrics.paired import holm
from bench.report.cells import Results
from bench.suite.gate import Rule
from bench.suite.schema import ResolvedColumn, Suite
from bench.suite.tables import named_columns

__all__ = ["Checked", "GateResult", "check_rules"]


@dataclass(frozen=True)
class Checked:
    """One rule on one model and column.

    Attributes:
        rule: The rule.
        label: Label of the model.
        column: Id of the column.
        kept: Whether it is kept; None if there is nothing to compare by design, such as an ``n/a`` cell.
        value, baseline: The means over the seeds that both have; None if a side has none. Of a side that is alone,
            the mean over all its seeds.
        difference: Value less baseline.
        p: Corrected p value of a rule that asks for significance.
        reason: Why it is broken without a number, or not compared; or a remark on the seeds.
    """

    rule: Rule
    label: str
    column: str
    kept: bool | None
    value: float | None = None
    baseline: float | None = None
    difference: float | None = None
    p: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class GateResult:
    """All checks of a gate."""

    checks: tuple[Checked, ...]

    @property
    def broken(self) -> tuple[Checked, ...]:
        """The checks that are not kept."""
        return tuple(one for one in self.checks if one.kept is False)

    @property
    def compared(self) -> int:
        """Number of checks with a verdict."""
        return sum(one.kept is not None for one in self.checks)


def check_rules(results: Results, suite: Suite, former: FormerRun, rules: Sequence[Rule]) -> GateResult:
    """Check every rule on every model that both runs have.

    A rule bounds the difference of means (over seeds) to the baseline. A number that the baseline has and this run
    lacks breaks the rule, unless it is ``n/a`` by design; a number that the baseline lacks is not compared.

    Args:
        results: The results of the suite.
        suite: The suite.
        former: The baseline.
        rules: At least one rule.

    Raises:
        RequestError: A rule names no column of the suite, or asks "not worse" of a column without a better direction.
        NothingSelectedError: A rule could be compared on no model: it would hold whatever happens.
    """
    known = named_columns(suite.evaluations)
    checks: list[Checked] = []
    for rule in rules:
        for column in _columns(rule, known):
            checks += _check(rule, column, results, suite, former)
    found = GateResult(tuple(checks))
    for rule in rules:
        of_rule = [one for one in checks if one.rule == rule]
        compared = any(one.kept is not None for one in of_rule)
        by_design = bool(of_rule) and all(one.reason.startswith(_BY_DESIGN) for one in of_rule)
        if not compared and not (by_design and found.compared):
            reasons = dict.fromkeys(f"{one.label}: {one.reason}" for one in of_rule)
            said = "; ".join(reasons) or "no model in common"
            raise NothingSelectedError(f"rule {rule.text!r} of the gate compared nothing ({said})")
    return found


def _columns(rule: Rule, known: Mapping[str, ResolvedColumn]) -> list[ResolvedColumn]:
    named = [column for name, column in known.items() if name == rule.column or fnmatchcase(name, rule.column)]
    unique = {(one.evaluation.id, one.column.metric, one.column.argument): one for one in reversed(named)}
    if not unique:
        raise RequestError(f"rule {rule.text!r}: unknown column {rule.column!r}; {did_you_mean(rule.column, known)}")
    columns = list(reversed(unique.values()))
    aimless = [one.id for one in columns if one.column.direction is None]
    if rule.operator == "worse" and aimless:
        raise RequestError(
            f"rule {rule.text!r}: {aimless[0]} has no better direction; write 'not lower' or 'not higher'"
        )
    return columns


_BY_DESIGN = "n/a"
_UNPAIRED = "its items cannot be paired: the runs differ in their data, or a job.json is missing; give a bound instead"


def _check(rule: Rule, column: ResolvedColumn, results: Results, suite: Suite, former: FormerRun) -> Iterator[Checked]:
    compared: list[tuple[str, float, float, Compared]] = []
    for model in suite.models:
        mine, other = Side(results, model), former.side(model)
        if other is None:
            yield Checked(rule, model.label, column.id, None, reason=f"not in {former.folder}")
            continue
        cell, before = results.cell(model, column), mean_of(other, column)
        now = mean_of(mine, column)
        damage = damage_of(other, column)
        if before is None and damage is not None:
            yield Checked(rule, model.label, column.id, False, value=now, reason=f"the baseline's {damage}")
        elif before is None and now is None and cell.status == "n/a":
            yield Checked(rule, model.label, column.id, None, reason=f"{_BY_DESIGN}: {cell.reason}")
        elif before is None:
            yield Checked(rule, model.label, column.id, None, value=now, reason="the baseline has no number")
        elif now is None:
            kept = None if cell.status == _BY_DESIGN else False
            reason = f"{cell.status}: {cell.reason}" if cell.reason else cell.status
            yield Checked(rule, model.label, column.id, kept, baseline=before, reason=reason)
        elif isinstance(means := means_of(mine, other, column), str):
            yield Checked(rule, model.label, column.id, None, reason=means)
        elif rule.is_test:
            now, before, _ = means
            same = same_data(mine, other, suite)
            found = of_weights(mine, other, column, same_items=same)
            if not same:
                found = replace(found, difference=None, reason=_UNPAIRED)
            compared.append((model.label, now, before, found))
        else:
            now, before, partly = means
            difference = now - before
            kept = rule.kept(difference)
            yield Checked(rule, model.label, column.id, kept, now, before, difference, reason=partly or "")
    yield from _tests(rule, column, compared)


def _tests(
    rule: Rule, column: ResolvedColumn, compared: Sequence[tuple[str, float, float, Compared]]
) -> Iterator[Checked]:
    """The checks of a rule that asks for significance, with Holm's correction over the models."""
    found = [(one.difference.p if one.difference is not None else None) for *_, one in compared]
    corrected = iter(holm([p for p in found if p is not None]) if any(p is not None for p in found) else ())
    downwards = rule.operator == "lower" or (rule.operator == "worse" and column.column.direction == "up")
    for (label, now, before, one), p in zip(compared, found, strict=True):
        if p is None or one.difference is None:
            reason = one.reason or "no paired test for this column; give a bound instead"
            yield Checked(rule, label, column.id, None, now, before, now - before, reason=reason)
            continue
        adjusted = next(corrected)
        wrong = one.difference.value < 0 if downwards else one.difference.value > 0
        kept = not (wrong and adjusted < rule.bound)
        remark = one.reason or ""
        yield Checked(rule, label, column.id, kept, now, before, one.difference.value, adjusted, remark)
