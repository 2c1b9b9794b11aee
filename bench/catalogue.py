"""What there is, in words: listings, descriptions of plug-ins and metrics, and what a job left."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.data.registry import DATASETS
from bench.data.spec import DatasetSpec
from bench.errors import RequestError, did_you_mean
from bench.evaluate.base import EVALUATIONS, Evaluation
from bench.registry import Registry, UnknownNameError
from bench.spec import BACKBONES, FAMILIES, BackboneSpec, FamilySpec, settings
from bench.store import JobFolder
from bench.suite.settings import load_settings, suite_folders

if TYPE_CHECKING:
    from bench.api import Bench

__all__ = ["Listed", "description", "find_job", "inline", "job_text", "listing"]


@dataclass(frozen=True)
class Listed:
    """One line of a listing."""

    name: str
    summary: str
    origin: str
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def listing(kind: str) -> list[Listed]:
    """What there is of a kind: families, backbones, datasets, evaluations, attacks, suites or profiles."""
    makers: dict[str, Callable[[], list[Listed]]] = {
        "families": lambda: _registered(FAMILIES),
        "backbones": lambda: (
            [Listed(spec.pattern, spec.summary, "bench") for spec in BACKBONES.values()]
            + [row for row in _registered(BACKBONES) if row.error]
        ),
        "datasets": lambda: _registered(DATASETS),
        "evaluations": lambda: _registered(EVALUATIONS),
        "attacks": _attacks,
        "suites": lambda: _files("*.toml", "suite", "title"),
        "profiles": lambda: _files("profiles/*.toml", "profile", "summary"),
    }
    return makers[kind]()


def _registered(registry: Registry[Any]) -> list[Listed]:
    return [
        Listed(entry.name, entry.value.summary if entry.value is not None else "", entry.origin, entry.error)
        for entry in registry.entries()
    ]


def _attacks() -> list[Listed]:
    from bench.attacks.catalogue import ENTRIES

    return [Listed(entry.name, entry.summary, "bench") for entry in ENTRIES.values()]


def _files(pattern: str, section: str, key: str) -> list[Listed]:
    import tomllib

    rows = []
    for folder in suite_folders(load_settings()):
        for path in sorted(folder.glob(pattern)):
            try:
                facts = tomllib.loads(path.read_text(encoding="utf-8")).get(section, {})
                rows.append(Listed(path.stem, str(facts.get(key, "")), "bench"))
            except (OSError, tomllib.TOMLDecodeError) as error:
                rows.append(Listed(path.stem, "", str(path), str(error)))
    return rows


def description(name: str) -> str:
    """A plug-in or metric in words.

    Raises:
        RequestError: Nothing has that name; or it is broken.
    """
    kinds: tuple[tuple[Registry[Any], Callable[[Any], str]], ...] = (
        (FAMILIES, _family),
        (EVALUATIONS, _evaluation),
        (DATASETS, _dataset),
    )
    from bench.attacks.catalogue import ENTRIES

    found = []
    for registry, words in kinds:
        try:
            found.append(words(registry.get(name)))
        except UnknownNameError as error:
            if "cannot be used" in error.reason:
                raise
    with contextlib.suppress(UnknownNameError):
        found.append(_backbone(BACKBONES.get(name)))
    if name in ENTRIES:  # an evaluation and the attack that it makes can have one name
        found.append(_attack(name))
    if found:
        return "\n\n".join(found)
    kind, _, metric = name.partition(".")
    if metric and kind in EVALUATIONS.names():
        return _metric(EVALUATIONS.get(kind), metric)
    known = [*FAMILIES.names(), *EVALUATIONS.names(), *DATASETS.names(), *ENTRIES]
    known += [example for spec in BACKBONES.values() for example in spec.examples]
    raise RequestError(f"nothing is called {name!r}; {did_you_mean(name, known)}")


def _family(spec: FamilySpec) -> str:
    lines = [f"{spec.name}: {spec.label}, a model family", spec.summary, f"source: {spec.source}"]
    lines.append(f"can: {', '.join(['classify', *sorted(spec.capabilities)])}")
    lines.append(f"read-outs: {', '.join(spec.readouts)} (the first is the default)")
    if spec.presets:
        lines.append("presets:")
        lines += [f"  {name}: {inline(values)}" for name, values in spec.presets.items()]
    return "\n".join([*lines, "", *_settings(spec.config)])


def _evaluation(evaluation: Evaluation) -> str:
    lines = [f"{evaluation.name}: an evaluation", evaluation.summary, f"source: {evaluation.source}"]
    if type(evaluation).__doc__:
        lines += ["", *[line.strip() for line in str(type(evaluation).__doc__).strip().splitlines()]]
    lines += [
        "",
        *_settings(evaluation.Config),
        "",
        "numbers (with the defaults where parameters are required):",
    ]
    for column in evaluation.columns(_example(evaluation)):
        argument = f"@{column.argument}" if column.argument else ""
        direction = {"up": "higher is better", "down": "lower is better", None: "no direction"}[column.direction]
        lines.append(f"  {evaluation.name}.{column.metric}{argument}: {column.unit}, {direction}")
        lines.append(f"      {column.definition}")
    return "\n".join(lines)


def _example(evaluation: Evaluation) -> Any:
    """Parameters with which to name the columns: defaults, and something typical where there is none."""
    required = {name for name, info in evaluation.Config.model_fields.items() if info.is_required()}
    typical = {"eps": ("8/255",), "sets": ("svhn",)}
    return evaluation.Config.model_validate({name: typical[name] for name in required})


def _metric(evaluation: Evaluation, metric: str) -> str:
    lines = []
    columns = evaluation.columns(_example(evaluation))
    for column in columns:
        if column.metric == metric or f"{column.metric}@{column.argument}" == metric:
            direction = {"up": "higher is better", "down": "lower is better", None: "no direction"}[column.direction]
            argument = f"@{column.argument}" if column.argument else ""
            lines.append(f"{evaluation.name}.{column.metric}{argument}: unit {column.unit}, {direction}")
            lines.append(f"  {column.definition}")
    if not lines:
        hint = did_you_mean(metric, [column.metric for column in columns])
        raise RequestError(f"{evaluation.name} has no metric {metric!r}; {hint}")
    return "\n".join([*lines, f"source: {evaluation.source}"])


def _dataset(spec: DatasetSpec) -> str:
    shape = "that of the in-distribution set" if spec.image_shape is None else "x".join(map(str, spec.image_shape))
    classes = "none: out-of-distribution only" if spec.num_classes is None else str(spec.num_classes)
    found = spec.find(load_settings().data)
    return "\n".join(
        [
            f"{spec.name}: a data set",
            spec.summary,
            f"source: {spec.source}",
            f"license: {spec.license}",
            f"image shape (C x H x W): {shape}",
            f"classes: {classes}",
            f"items: {', '.join(f'{n:,} {part}' for part, n in spec.sizes.items()) or 'as many as wanted'}",
            f"held out of training for validation: {spec.validation:,}",
            f"augmentation: {spec.augmentation}",
            f"here: {'found' if found is None else found}",
        ]
    )


def _backbone(spec: BackboneSpec) -> str:
    lines = [f"{spec.name}: a backbone ({spec.pattern})", spec.summary, f"source: {spec.source}"]
    try:
        spec.parse(spec.name)
    except ValueError:
        lines.append(f"examples: {', '.join(spec.examples)}")
    else:
        lines += [f"{name}: {value:,.0f}" for name, value in spec.describe(spec.name, (3, 32, 32)).items()]
        lines.append("(multiply-adds for an image of 3 x 32 x 32)")
    return "\n".join(lines)


def _attack(name: str) -> str:
    from bench.attacks.catalogue import find

    entry = find(name)
    lines = [
        f"{entry.name}: an attack",
        entry.summary,
        f"source: {entry.source}",
        f"norms: {', '.join(entry.norms)}",
    ]
    lines.append("parameters:")
    lines += [f"  {key} = {value!r}" for key, value in entry.parameters.items()]
    return "\n".join(lines)


def _settings(config: Any) -> list[str]:
    lines = ["parameters:"]
    for setting in settings(config):
        lines.append(f"  {setting.key} = {inline(setting.default)}  ({setting.type})")
        lines.append(f"      {setting.description}")
        stated = (("paper", setting.paper), ("code", setting.code), ("why", setting.why))
        said = [f"{who}: {text}" for who, text in stated if text]
        if said:
            lines.append(f"      {'; '.join(said)}")
    return lines


def inline(value: Any) -> str:
    """A value as a suite would write it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"' if isinstance(value, str) and value != "required" else str(value)


def find_job(bench: Bench, name: str, suite: str | None, profile: str | None) -> tuple[str, JobFolder]:
    """The folder of a job by id (in a suite, default: the one last run) or by the beginning of its key.

    Raises:
        RequestError: There is none.
    """
    folders = [f for f in bench.store.folders() if len(name) >= 6 and f.key.startswith(name)]
    if len(folders) == 1:
        job = folders[0].job()
        return (str(job["id"]) if job else name), folders[0]
    if suite is None:
        suite, profile = bench.last(profile)
    plan = bench.plan(suite, profile=profile)
    job_ = plan.named(name)
    if job_ is None:
        ids: Iterable[str] = [job.id for job in plan.jobs]
        raise RequestError(f"suite {plan.suite.name} has no job {name!r}; {did_you_mean(name, ids)}")
    return job_.id, bench.store.folder(job_.key)


def job_text(name: str, folder: JobFolder) -> str:
    """What a job left, for a person."""
    lines = [f"{name}: {folder.state()}", f"folder: {folder.path}"]
    record, error = folder.record(), folder.error()
    if record is not None:
        lines += [
            f"{key}: {record[key]}" for key in ("status", "reason", "seconds", "passes", "weights") if key in record
        ]
        for number in record.get("numbers", ()):
            argument = f"@{number['argument']}" if number["argument"] else ""
            value = number["value"] if number["value"] is not None else f"n/a ({number['reason']})"
            interval = number["interval"]
            shown = f" [{interval['low']:.4g}, {interval['high']:.4g}] {interval['kind']}" if interval else ""
            lines.append(f"{number['metric']}{argument} = {value}{shown}, n = {number['n']}")
            lines.append(f"    {number['definition']}")
            if number["verdict"]:
                lines.append(f"    {number['verdict']}: {'; '.join(map(str, number['flags'].values())) or 'no flag'}")
        if record.get("history"):
            history = json.loads(folder.file(record["history"]).read_text(encoding="utf-8"))
            lines += [
                "history:",
                *("  " + ", ".join(f"{k} {_short(v)}" for k, v in epoch.items()) for epoch in history),
            ]
        lines.append(f"provenance: {json.dumps(record['provenance'])}")
    if error is not None:
        lines += [f"error: {error['type']}: {error['message']}", str(error.get("traceback", "")).rstrip()]
    log = folder.log().strip()
    if log:
        lines += ["log:", log]
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
