"""Reads the sections of a suite of one data set: validates them and resolves names.

All mistakes are reported together: every section, entry and key is checked, also if others are wrong. Consequences of a
reported mistake are not reported: a column of an evaluation with mistakes is not called unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.data.spec import DatasetSpec, resized_to
from bench.errors import did_you_mean
from bench.suite import profile as profiles
from bench.suite.evaluations import EvaluationReader
from bench.suite.feasible import Feasibility
from bench.suite.figures import FigureReader
from bench.suite.gate import GateSection
from bench.suite.models import ModelReader
from bench.suite.schema import Caps, DataSection, Suite, SuiteHeader
from bench.suite.section import SECTIONS, SectionReader
from bench.suite.tables import TableReader

__all__ = ["SuiteReader"]


@dataclass
class SuiteReader(SectionReader):
    """Reads all sections of a suite of one data set."""

    def suite(self, applied: profiles.Applied, literature: frozenset[str], original: str | None = None) -> Suite | None:
        """The suite, or None if it has mistakes.

        Args:
            applied: The suite with its profile applied.
            literature: Names that ``literature = [...]`` may use.
            original: The data set that the file names, if the suite is on one of several.
        """
        for key in self.document.data:
            if key not in SECTIONS:
                self.complain((key,), "unknown section", did_you_mean(key, SECTIONS))
        profile = applied.profile
        caps = profile.caps if profile else Caps()
        header = self._section(SuiteHeader, "suite")
        data = self._section(DataSection, "data")
        caps = _bounded(caps, data)
        dataset = self._dataset(data)
        models = ModelReader(self.document, self.problems, caps, dataset)
        read_models = models.models()
        evaluations = EvaluationReader(
            document=self.document,
            problems=self.problems,
            substitutes=applied.outside,
            inside=dataset,
            models=[model.name for model in read_models],
            families=[model.family for model in read_models],
            unclear_models=models.unclear,
        )
        read_evaluations = evaluations.evaluations()
        tables = TableReader(
            document=self.document,
            problems=self.problems,
            models=read_models,
            evaluations=read_evaluations,
            unclear_models=models.unclear,
            unclear_evaluations=evaluations.unclear,
            literature=literature,
            outside=applied.outside,
        ).tables()
        figures = FigureReader(
            document=self.document,
            problems=self.problems,
            models=read_models,
            evaluations=read_evaluations,
            unclear_models=models.unclear,
            unclear_evaluations=evaluations.unclear,
            outside=applied.outside,
            tables=frozenset(table.id for table in tables),
        ).figures()
        gate = self._section(GateSection, "gate") if "gate" in self.document.data else None
        if dataset is not None and data is not None:
            Feasibility(
                document=self.document,
                problems=self.problems,
                inside=dataset,
                data=data,
                caps=caps,
                models=models.placed,
                evaluations=evaluations.placed,
                outside=evaluations.outside,
            ).look()
        if header is None or data is None or dataset is None or self.problems:
            return None
        # The profile's key is the name in the suite file.
        replaced = self.document.overlays.get(("data", "dataset"))
        original = original or (str(replaced[1][-1]) if replaced else data.dataset)
        return Suite(
            name=header.name,
            title=header.title or header.name,
            paper=header.paper,
            path=self.document.path,
            dataset=dataset,
            data=data,
            models=tuple(read_models),
            evaluations=tuple(read_evaluations),
            tables=tuple(tables),
            figures=tuple(figures),
            rules=gate.rules if gate is not None else (),
            baseline=self.document.path.parent / gate.against if gate is not None and gate.against else None,
            caps=caps,
            profile=profile.profile.name if profile else None,
            substitutions=applied.substitutions,
            original_dataset=original,
        )

    def _section(self, schema: Any, name: str) -> Any:
        value = self.document.data.get(name)
        if value is None:
            if name not in self.meant():
                self.complain((name,), f"the suite has no [{name}] section")
            return None
        return self.check(schema, value, (name,))

    def _dataset(self, data: DataSection | None) -> DatasetSpec | None:
        name = self.document.table("data").get("dataset")
        if not isinstance(name, str):
            return None
        spec = self.dataset(name, ("data", "dataset"))
        if spec is not None and (spec.num_classes is None or spec.image_shape is None):
            self.complain(("data", "dataset"), f"{spec.name!r} has no labels: it can only be an OOD set")
            return None
        return spec if spec is None or data is None else resized_to(spec, data.resize)


def _bounded(caps: Caps, data: DataSection | None) -> Caps:
    """The bounds of the profile with the suite's own bound on training items."""
    own = [bound for bound in (caps.train, data.train if data is not None else None) if bound is not None]
    return caps.model_copy(update={"train": min(own, default=None)})
