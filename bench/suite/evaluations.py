"""The evaluations of a suite: protocol, parameters, and the data sets and models that they name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bench.data.spec import DatasetSpec
from bench.errors import Problem, did_you_mean
from bench.evaluate.base import EVALUATIONS, Evaluation
from bench.evaluate.declared import planned_problems
from bench.spec import FamilySpec
from bench.suite.locate import Path
from bench.suite.names import Doubtful, evaluation_id, unclear_evaluations
from bench.suite.schema import EvaluationEntry, ResolvedEvaluation
from bench.suite.section import SectionReader, rest, value_or_default

__all__ = ["EvaluationReader"]


@dataclass(kw_only=True)
class EvaluationReader(SectionReader):
    """Reads ``[[evaluation]]`` entries.

    Attributes:
        substitutes: The profile's substitutes of out-of-distribution sets, by the name of the original.
        inside: The in-distribution data set, if it is known.
        models: Names of the models without mistakes.
        families: The families of these models.
        unclear_models: Possible names of the models with mistakes.
        unclear: Set by ``evaluations``: possible names of the entries with mistakes.
        placed: Set by ``evaluations``: the evaluations without mistakes, by their place in the file.
        outside: Set by ``evaluations``: the data sets that they name, each with its place.
    """

    substitutes: Mapping[str, str]
    inside: DatasetSpec | None
    models: Collection[str]
    families: Collection[FamilySpec]
    unclear_models: Doubtful
    unclear: Doubtful = field(default_factory=Doubtful)
    outside: list[tuple[Path, DatasetSpec]] = field(default_factory=list)
    placed: dict[int, ResolvedEvaluation] = field(default_factory=dict)

    def evaluations(self) -> list[ResolvedEvaluation]:
        """The evaluations without mistakes; mistakes in the others are reported."""
        entries = self.entries("evaluation", required=True)
        found = [self._evaluation(raw, ("evaluation", index)) for index, raw in enumerate(entries)]
        self.unclear = unclear_evaluations(raw for raw, one in zip(entries, found, strict=True) if one is None)
        if not entries:
            self.unclear = Doubtful(any=True)
        named = [(("evaluation", index, "id"), evaluation_id(raw)) for index, raw in enumerate(entries)]
        self.unique(named, "evaluation id")
        self.placed = {index: evaluation for index, evaluation in enumerate(found) if evaluation is not None}
        return list(self.placed.values())

    def _evaluation(self, raw: dict[str, Any], at: Path) -> ResolvedEvaluation | None:
        """One evaluation, or None if it has mistakes. Every key is checked, also if others are wrong."""
        before = len(self.problems)
        entry = self.check(EvaluationEntry, {key: raw[key] for key in raw if key in EvaluationEntry.model_fields}, at)
        kind = raw.get("kind")
        evaluation = self.named(EVALUATIONS, kind, (*at, "kind")) if isinstance(kind, str) else None
        if evaluation is None:
            return None
        checked = len(self.problems)
        config = self.check(evaluation.Config, rest(EvaluationEntry, raw), at, EvaluationEntry.model_fields)
        self.problems[checked:] = map(self._with_originals, self.problems[checked:])
        self._datasets(evaluation, raw, at)
        self._models(evaluation, raw, at)
        if evaluation_id(raw) in _TAKEN:
            reason = f"the id {evaluation_id(raw)!r} is that of another kind of job"
            self.complain((*at, "id"), reason, "give it another")
        if config is not None and len(self.problems) == before:
            for problem in planned_problems(evaluation, config, self.families):
                self.complain((*at, "kind"), f"evaluation {evaluation.name!r}: {problem}")
        if entry is None or config is None or len(self.problems) > before:
            return None
        return ResolvedEvaluation(evaluation_id(raw) or evaluation.name, evaluation, config, entry.kind)

    def _with_originals(self, problem: Problem) -> Problem:
        """The problem with the names that the file has for sets which the profile substituted, if it names some."""
        meant = [
            f"{name!r} is the profile's substitute of {original!r}"
            for original, name in self.substitutes.items()
            if original != name and repr(name) in problem.message
        ]
        return replace(problem, hint="; ".join(part for part in (problem.hint, *meant) if part)) if meant else problem

    def _datasets(self, evaluation: Evaluation, raw: Mapping[str, Any], at: Path) -> None:
        known: set[str] = set()
        for key in evaluation.dataset_fields:
            value = value_or_default(evaluation.Config, raw, key)
            lists = value if isinstance(value, Mapping) else {None: value}
            for group, names in lists.items():
                for path, name in self.references(names, (*at, key) if group is None else (*at, key, group)):
                    # A name in two lists, such as a set in a group, is checked once.
                    if name not in known:
                        known.add(name)
                        self._dataset(name, path)

    def _dataset(self, name: str, path: Path) -> None:
        spec, own = self.dataset(name, path), self.inside
        if spec is None:
            return
        if own is not None and (spec.name, spec.fingerprint) == (own.name, own.fingerprint):
            self.complain(path, f"{spec.name!r} is the in-distribution data set")
        self.outside.append((path, spec))

    def _models(self, evaluation: Evaluation, raw: Mapping[str, Any], at: Path) -> None:
        """Check the other models of the suite that the evaluation reads."""
        for key in evaluation.model_fields:
            for path, name in self.references(raw.get(key), (*at, key)):
                if name not in self.models and name not in self.unclear_models:
                    hint = did_you_mean(name, {*self.models, *self.unclear_models.names})
                    self.complain(path, f"no model of the suite is called {name!r}", hint)


_TAKEN = ("train", "predict")
"""Names of the jobs that every model has; an evaluation cannot have one of them as its id."""
