"""A suite of parts in reports: its results by data set, and the report that joins those of included suites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.plan.jobs import Plan
from bench.report.cells import Results
from bench.report.model import Report
from bench.suite.schema import ResolvedColumn, ResolvedModel, Suite

__all__ = ["Parts", "joined", "merged_lines"]


@dataclass(frozen=True)
class Parts:
    """The results behind the tables of one suite.

    Attributes:
        results: Its results by data set, as the suite file names it; by "" if the suite has only one.
        plan: The plan of the whole suite.
    """

    results: Mapping[str, Results]
    plan: Plan

    @property
    def only(self) -> Results | None:
        """The results of the only data set; None if there are several."""
        return next(iter(self.results.values())) if len(self.results) == 1 else None

    def of(self, column: ResolvedColumn) -> Results:
        """The results of the data set of a column."""
        return self.results[column.dataset]

    def suite(self, column: ResolvedColumn) -> Suite:
        """The suite of the data set of a column."""
        return self.results[column.dataset].plan.suite

    def models(self, names: Sequence[str]) -> list[ResolvedModel]:
        """The models with these names. All parts have the same; hyper-parameters are those of the first."""
        known = {model.name: model for leaf in reversed(self.plan.suite.leaves) for model in leaf.models}
        return [known[name] for name in names]


def joined(suite: Suite, reports: Sequence[Report]) -> Report:
    """The report of a suite of parts, from those of its parts."""
    return Report(
        suite=suite.name,
        title=suite.title,
        profile=suite.profile,
        substitutions=tuple(dict.fromkeys(pair for report in reports for pair in report.substitutions)),
        deviations=merged_lines({report.suite: report.deviations for report in reports}),
        tables=tuple(table for report in reports for table in report.tables),
        budget=" ".join(merged_lines({report.suite: (report.budget,) for report in reports if report.budget})),
    )


def merged_lines(lines: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The lines of all parts: what all of them say once, and the rest with the names of those that say it."""
    who: dict[str, list[str]] = {}
    for name, of_part in lines.items():
        for line in of_part:
            who.setdefault(line, []).append(name)
    return tuple(line if len(names) == len(lines) else f"{', '.join(names)}: {line}" for line, names in who.items())
