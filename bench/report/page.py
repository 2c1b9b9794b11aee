"""What a report shows beside the tables: pictures, models and their settings, provenance, and how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import DamagedFileError
from bench.plan.jobs import Plan
from bench.report.model import Figure
from bench.report.paper_protocol import shown
from bench.spec import settings
from bench.store import Record, Store
from bench.suite.schema import ResolvedModel, Suite

__all__ = ["ModelFacts", "Page", "Picture", "commands_of", "models_of", "pictures_of", "provenance_of", "sources_of"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_READ = {
    "noise": "images, adversarial images, and the noise, each enlarged to the whole range (grey is none)",
    "closest": "rows are classes, nearest to the center of the class first",
    "farthest": "rows are classes, farthest from the center of the class first",
}
"""How to read a picture, by its name; others are grids with a row for each class."""


@dataclass(frozen=True)
class Picture:
    """A picture of the report, such as a grid of generated images.

    Attributes:
        label: Model and seed.
        caption: Evaluation, name of the picture, and how to read it.
        png: Content of the PNG file.

    Raises:
        ValueError: If ``png`` is not a PNG file.
    """

    label: str
    caption: str
    png: bytes

    def __post_init__(self) -> None:
        if not self.png.startswith(_PNG_SIGNATURE):
            raise ValueError(
                f"picture {self.label!r} must be the bytes of a PNG file, got {bytes(self.png[:8])!r} at its start"
            )


@dataclass(frozen=True)
class ModelFacts:
    """A model as the report lists it.

    Attributes:
        label: Its name in tables.
        family: Its family.
        backbone: Its network.
        data: The data that it is trained on.
        training: For each seed, what training left: ``"seed 1: validation accuracy 97.0% at epoch 16"``.
        settings: Every hyper-parameter, as (key, value).
    """

    label: str
    family: str
    backbone: str
    data: str
    training: tuple[str, ...]
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Page:
    """What a report shows beside its tables; empty parts are left out.

    Attributes:
        figures: Figures by their ids, or why one cannot be drawn.
        pictures: Pictures, in order.
        models: The models.
        facts: Provenance, as name → text.
        commands: Commands that repeat the results, one a line.
        sources: Files that the results were made from, as (name, text).
    """

    figures: Mapping[str, Figure | str] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    models: Sequence[ModelFacts] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[str] = ()
    sources: Sequence[tuple[str, str]] = ()


def pictures_of(plan: Plan, store: Store) -> tuple[Picture, ...]:
    """The pictures that evaluations stored, labelled by model and seed."""
    found: dict[tuple[str, str], Picture] = {}
    for part in plan.leaves:
        labels = {model.name: model.label for model in part.suite.models}
        for job in part.jobs:
            if job.kind != "evaluate":
                continue
            folder = store.folder(job.key)
            record = folder.record()
            for name in record.measured.files if record is not None else ():
                if not name.endswith(".png") or (job.key, name) in found:
                    continue
                try:
                    content = folder.read(name)
                except DamagedFileError:  # the job's cells say so
                    folder.distrust()
                    continue
                on = f", {part.suite.on}" if part.suite.on else ""
                label = f"{labels[job.model]}{on}, seed {job.seed}"
                what = name.removesuffix(".png")
                caption = f"{job.evaluation}: {what}; {_READ.get(what, 'rows are classes')}"
                found[job.key, name] = Picture(label, caption, content)
    return tuple(found.values())


def models_of(plan: Plan, store: Store) -> tuple[ModelFacts, ...]:
    """The models of a plan with their settings, each once, in the order of the suite and its parts."""
    found: dict[ModelFacts, None] = {}
    for part in plan.leaves:
        for model in part.suite.models:
            records = [
                (job.seed, store.folder(job.key).record())
                for job in part.jobs
                if (job.kind, job.model) == ("train", model.name)
            ]
            facts = ModelFacts(
                label=model.label,
                family=model.family.name,
                backbone=model.backbone.name,
                data=_data(part.suite),
                training=tuple(f"seed {seed}: {_training(record)}" for seed, record in records),
                settings=() if model.absent else tuple(_settings(model)),
            )
            found[facts] = None
    return tuple(found)


def _data(suite: Suite) -> str:
    shape = "x".join(str(size) for size in suite.image_shape)
    return f"{suite.dataset.name} {shape}, data seed {suite.data.seed}"


def _training(record: Record | None) -> str:
    if record is None:
        return "not trained yet"
    if record.diverged:
        return f"diverged, {record.reason}"
    training = record.training
    if training.validation_accuracy is None:
        return "not trained here"
    weights = f", weights sha256 {record.weights[:12]}" if record.weights else ""
    return (
        f"validation accuracy {training.validation_accuracy:.1%} at epoch {training.selected_epoch} of "
        f"{training.epochs}, {record.seconds:,.0f} s{weights}"
    )


def _settings(model: ResolvedModel) -> Iterator[tuple[str, str]]:
    for setting in settings(model.family.config):
        value: object = model.config
        for part in setting.key.split("."):
            value = getattr(value, part, None)
        if value is not None:
            yield setting.key, shown(value)


def provenance_of(plan: Plan, store: Store) -> dict[str, str]:
    """The provenance of all records of a plan together, as name → text."""
    versions: dict[str, set[str]] = {}
    devices: set[str] = set()
    commands: set[str] = set()
    finished: set[str] = set()
    seconds = 0.0
    for job in plan.jobs:
        record = store.folder(job.key).record()
        if record is None:
            continue
        made = record.provenance
        for package, version in made.versions.items():
            versions.setdefault(package, set()).add(version)
        devices.add(made.device_name or made.device)
        commands.add(made.command)
        finished |= {record.finished} - {""}
        seconds += record.seconds
    devices.discard("none")
    seeds = sorted({seed for leaf in plan.suite.leaves for model in leaf.models for seed in model.seeds})
    facts = {
        "suite": plan.suite.path.name,
        "data set": "; ".join(dict.fromkeys(_data(leaf) for leaf in plan.suite.leaves)),
        "training seeds": ", ".join(map(str, seeds)),
        "finished": " to ".join(dict.fromkeys([min(finished), max(finished)])) if finished else "",
        "commit of bench": ", ".join(_commits(plan, store)),
        "devices": ", ".join(sorted(devices)),
        "worker time": f"{seconds:,.0f} s" if seconds else "",
        "commands": "; ".join(sorted(commands)),
        "versions": ", ".join(f"{name} {' and '.join(sorted(v))}" for name, v in sorted(versions.items())),
    }
    return {name: text for name, text in facts.items() if text}


def _commits(plan: Plan, store: Store) -> list[str]:
    """The commits of the harness behind the records, ``"(edited)"`` behind those that were not as committed."""
    found = []
    for job in plan.jobs:
        record = store.folder(job.key).record()
        made = record.provenance.harness if record is not None else None
        if made:
            found.append(f"{made.get('commit', '')}{' (edited)' if made.get('edited') else ''}")
    return sorted(set(found))


def commands_of(plan: Plan, store: Store, home: Path, profile: str | None) -> tuple[str, ...]:
    """The commands that repeat the results of a plan, from the folder of the project.

    Args:
        plan: The plan.
        store: The store with its records; if all were made with one commit of the harness, that is checked out first.
        home: The folder of the project.
        profile: Name or path of the profile, as the user gave it.
    """
    path = plan.suite.path
    suite = path.relative_to(home) if path.is_relative_to(home) else Path(path.name)
    words = [str(suite), *(["--profile", profile] if profile else [])]
    commits = _commits(plan, store)
    checkout = [f"git checkout {commits[0]}"] if len(commits) == 1 and "edited" not in commits[0] else []
    return (*checkout, shlex.join(["bench", "run", *words]), shlex.join(["bench", "report", *words]))


def sources_of(suite: Suite, profile: Path | None) -> tuple[tuple[str, str], ...]:
    """The files of a suite with those that it includes, and of its profile, as (name, text).

    A file that was deleted since the suite was read is left out.
    """
    paths = dict.fromkeys([suite.path, *(leaf.path for leaf in suite.leaves), *([profile] if profile else [])])
    return tuple((path.name, path.read_text(encoding="utf-8")) for path in paths if path.is_file())
