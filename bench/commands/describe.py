"""Listings and descriptions of plug-ins, suites, profiles, metrics and columns, as text."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from bench.attacks.named import ATTACKS
from bench.attacks.spec import Attack
from bench.commands import glossary
from bench.data.registry import DATASETS, absence
from bench.data.spec import DatasetSpec
from bench.errors import BenchError, RequestError, SuiteError, did_you_mean, nearest
from bench.evaluate.base import EVALUATIONS, Column, Evaluation
from bench.execute.engines import ENGINES
from bench.registry import Registry, UnknownNameError
from bench.scores.named import SCORES
from bench.scores.spec import Score
from bench.spec import BACKBONES, FAMILIES, BackboneSpec, FamilySpec, settings
from bench.suite.document import Document, read, validate
from bench.suite.schema import ProfileFile, ResolvedColumn, Suite
from bench.suite.settings import find_profile, load_settings, suite_folders
from bench.suite.tables import column_name, named_columns, substituted

if TYPE_CHECKING:
    from bench.api import Bench

__all__ = ["Listed", "description", "inline", "listing"]


_DIRECTIONS = {"up": "higher is better", "down": "lower is better", None: "no direction"}


@dataclass(frozen=True)
class Listed:
    """One line of a listing."""

    name: str
    summary: str
    origin: str
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The line as a JSON object."""
        return asdict(self)


def listing(kind: str) -> list[Listed]:
    """All entries of a kind, one of those that `bench list` takes."""
    makers: dict[str, Callable[[], list[Listed]]] = {
        "families": lambda: _registered(FAMILIES),
        "backbones": lambda: (
            [Listed(spec.pattern, spec.summary, "bench") for spec in BACKBONES.values()]
            + [row for row in _registered(BACKBONES) if row.error]
        ),
        "datasets": lambda: _registered(DATASETS),
        "evaluations": lambda: _registered(EVALUATIONS),
        "attacks": lambda: _registered(ATTACKS),
        "scores": lambda: _registered(SCORES),
        "suites": lambda: _files("*.toml", "suite", "title"),
        "profiles": lambda: _files("profiles/*.toml", "profile", "summary"),
        "engines": lambda: [
            Listed(entry.name, "".join(_docstring(entry.value)[1:2]), entry.origin, entry.error)
            for entry in ENGINES.entries()
        ],
    }
    return makers[kind]()


def _registered(registry: Registry[Any]) -> list[Listed]:
    return [
        Listed(entry.name, entry.value.summary if entry.value is not None else "", entry.origin, entry.error)
        for entry in registry.entries()
    ]


def _files(pattern: str, section: str, key: str) -> list[Listed]:
    rows = []
    for folder in suite_folders(load_settings()):
        for path in sorted(folder.glob(pattern)):
            try:
                facts = read(path).data.get(section)
                summary = facts.get(key, "") if isinstance(facts, dict) else ""
                rows.append(Listed(path.stem, str(summary), "bench"))
            except BenchError as error:
                rows.append(Listed(path.stem, "", str(path), str(error)))
    return rows


def description(bench: Bench, name: str, suite: str | None = None, profile: str | None = None) -> str:
    """Describe everything with a name: plug-ins, suites, profiles, flags, verdicts, metrics, or a column of a suite.

    Args:
        bench: Settings and the suite last run.
        name: The name to describe.
        suite: The only suite to search for a column or an evaluation; default: the suite last run, then all.
        profile: Profile of the suite.

    Raises:
        RequestError: Nothing has this name, or the thing that has it is broken.
    """
    # A suite and its data set, or an evaluation and its attack, can have the same name.
    said = ["\n".join(lines) for lines in (glossary.flag(name), glossary.word(name)) if lines]
    if suite is None and (found := [*_plug_ins(name), *_suites_and_profiles(bench, name), *said]):
        return "\n\n".join(found)
    known = [] if suite is not None else _names()
    for one in _where_columns_are(bench, suite, profile):
        columns = _columns(name, one)
        if columns:
            return _column(columns, one)
        known += [*named_columns(one.evaluations), *(evaluation.id for evaluation in one.evaluations)]
    kind, _, metric = name.partition(".")
    if suite is None and metric and kind in EVALUATIONS.names():
        return _metric(EVALUATIONS.get(kind), metric)
    if suite is None and (lines := _bare_metric(name)):
        return "\n".join(lines)
    close = nearest(name, known)
    hint = f"did you mean {close!r}?" if close else "see bench list families, or evaluations, datasets, suites, …"
    raise RequestError(f"nothing is called {name!r}{f' in suite {suite}' if suite else ''}; {hint}")


def _plug_ins(name: str) -> list[str]:
    kinds: tuple[tuple[Registry[Any], Callable[[Any], str]], ...]
    kinds = (
        (FAMILIES, _family),
        (EVALUATIONS, _evaluation),
        (DATASETS, _dataset),
        (ATTACKS, _attack),
        (SCORES, _score),
    )
    found, broken = [], ""
    for registry, words in kinds:
        try:
            found.append(words(registry.get(name)))
        except UnknownNameError as error:
            if "cannot be used" in error.reason:
                raise
            broken = error.reason.partition("cannot be imported: ")[2]
    if broken and not found:
        raise RequestError(f"{name!r} cannot be imported: {broken}")
    with contextlib.suppress(UnknownNameError):
        found.append(_backbone(BACKBONES.get(name)))
    return found


def _suites_and_profiles(bench: Bench, name: str) -> list[str]:
    found = []
    written = name.endswith(".toml")
    is_profile = written and "profile" in read(find_profile(name, bench.settings)).data
    if (written and not is_profile) or name in [row.name for row in listing("suites")]:
        found.append(_suite(bench.suite(name)))
    if is_profile or name in [row.name for row in listing("profiles")]:
        document = read(find_profile(name, bench.settings))
        parsed, problems = validate(ProfileFile, document.data, document, ())
        if parsed is None:
            raise SuiteError(problems)
        found.append(_profile(document, parsed))
    return found


def _where_columns_are(bench: Bench, suite: str | None, profile: str | None) -> Iterator[Suite]:
    """The named suite; without one, the suite last run, then all others except broken ones. Of a suite of parts, those
    of one data set.
    """
    if suite is not None:
        yield from bench.suite(suite, profile).leaves
        return
    names: list[tuple[str, str | None]] = [(row.name, profile) for row in listing("suites")]
    with contextlib.suppress(BenchError):
        names.insert(0, bench.last(profile))
    for name, overlay in names:
        with contextlib.suppress(BenchError):
            yield from bench.suite(name, overlay).leaves


def _columns(name: str, suite: Suite) -> list[ResolvedColumn]:
    """The column with this name in tables of the suite, or else all columns of the evaluation or metric ``name``."""
    name = name.removeprefix(f"{suite.on}/") if suite.on else name
    known = named_columns(suite.evaluations)
    found = known.get(substituted(name, suite.evaluations, dict(suite.substitutions)))
    if found is not None and ("@" in name or "." in name):
        return [found]
    return [
        one
        for long, one in known.items()
        if long == column_name(one.evaluation.id, one.column)
        and name in (one.evaluation.id, f"{one.evaluation.id}.{one.column.metric}")
    ]


def _column(columns: list[ResolvedColumn], suite: Suite) -> str:
    """Unit, direction, definition and origin of the columns of one evaluation."""
    lines = []
    for resolved in columns:
        lines += _number(resolved.evaluation.id, resolved.column)
        if resolved.column.primary:
            lines.append(f"  also written {column_name(resolved.evaluation.id, resolved.column, short=True)}")
    evaluation = columns[0].evaluation
    what = evaluation.evaluation
    profile = f" with profile {suite.profile}" if suite.profile else ""
    kind = "" if evaluation.id == what.name else f" of kind {what.name}"
    lines.append(f"evaluation: {evaluation.id}{kind}, in suite {suite.name}{profile} ({suite.path})")
    lines.append(f"  {what.summary}")
    lines.append(f"source: {what.source}")
    return "\n".join(lines)


def _suite(suite: Suite) -> str:
    """The models, evaluations and tables of a suite."""
    lines = [f"{suite.name}: a suite", suite.title, f"file: {suite.path}"]
    lines += [f"paper: {suite.paper}"] if suite.paper else []
    if suite.parts:
        lines += [f"{part.on or part.name}: {part.title}" for part in suite.parts]
        return "\n".join([*lines, *_tables(suite)])
    lines.append(f"data: {suite.dataset.name}, data seed {suite.data.seed}")
    lines.append("models:")
    for model in suite.models:
        seeds = f"seed{'s' if len(model.seeds) > 1 else ''} {', '.join(map(str, model.seeds))}"
        training = f"weights {model.weights!r}" if model.weights else f"{model.config.epochs} epochs, {seeds}"
        lines.append(f"  {model.name}: {model.label}, family {model.family_name}, {model.backbone_name}, {training}")
    lines.append("evaluations:")
    for evaluation in suite.evaluations:
        kind = "" if evaluation.id == evaluation.evaluation.name else f" ({evaluation.evaluation.name})"
        lines.append(f"  {evaluation.id}{kind}: {evaluation.evaluation.summary}")
    return "\n".join([*lines, *_tables(suite)])


def _tables(suite: Suite) -> list[str]:
    lines = ["tables:"]
    for table in suite.all_tables:
        names = [column.id for column in table.columns] or table.settings
        lines += [f"  {table.id}: {table.title}", f"      {', '.join(names)}"]
    return lines


def _profile(document: Document, profile: ProfileFile) -> str:
    """The values that a profile sets in a suite."""
    lines = [f"{profile.profile.name}: a profile", profile.profile.summary, f"file: {document.path}"]
    values: Mapping[str, Any] = document.data
    for section in ("substitute", "data", "model", "evaluation", "caps"):
        for key, value in _flat(values.get(section, {})):
            lines.append(f"  {section}.{key} = {value!r}")
    return "\n".join(lines)


def _flat(values: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{above}{key}.") if isinstance(value, Mapping) else [(f"{above}{key}", value)]
    return found


def _names() -> list[str]:
    known = [*FAMILIES.names(), *EVALUATIONS.names(), *DATASETS.names(), *ATTACKS.names(), *SCORES.names()]
    known += [example for spec in BACKBONES.values() for example in spec.examples]
    known += [row.name for kind in ("suites", "profiles") for row in listing(kind)]
    for evaluation in EVALUATIONS.values():
        known += [f"{evaluation.name}.{column.metric}" for column in _example_columns(evaluation)]
    return [*known, *glossary.FLAGS, *glossary.WORDS, *glossary.METRICS]


def _family(spec: FamilySpec) -> str:
    lines = [f"{spec.name}: {spec.label}, a model family", spec.summary, f"source: {spec.source}"]
    lines.append(f"can: {', '.join([*(['classify'] if spec.classifies else []), *sorted(spec.capabilities)])}")
    if spec.classifies:
        lines.append(f"read-outs: {', '.join(spec.readouts)} (the first is the default)")
    lines.append("presets:")
    lines += [f"  {name}: {inline(values)}" for name, values in spec.all_presets.items()]
    return "\n".join([*lines, "", *_settings(spec.config)])


def _evaluation(evaluation: Evaluation) -> str:
    lines = [f"{evaluation.name}: an evaluation", evaluation.summary, f"source: {evaluation.source}"]
    lines += _docstring(evaluation)
    lines += [
        "",
        *_settings(evaluation.Config),
        "",
        "numbers (with the defaults where parameters are required):",
    ]
    for column in _example_columns(evaluation):
        name = column_name(evaluation.name, column)
        lines += [f"  {name}: {column.unit}, {_DIRECTIONS[column.direction]}", f"      {column.definition}"]
    return "\n".join(lines)


def _docstring(plug_in: object) -> list[str]:
    """The docstring of a plug-in's class after an empty line; nothing if it has none of its own."""
    said = inspect.cleandoc(type(plug_in).__dict__.get("__doc__") or "")
    return ["", *said.splitlines()] if said else []


def _example_columns(evaluation: Evaluation) -> tuple[Column, ...]:
    """The columns for default parameters, with typical values for those without a default; empty if none fit."""
    typical = {"eps": ("8/255",), "sets": ("svhn",)}
    values = {}
    for name, info in evaluation.Config.model_fields.items():
        if info.is_required():
            values[name] = (info.examples or [typical.get(name, f"<{name}>")])[0]
    try:
        return evaluation.columns(evaluation.Config.model_validate(values))
    except ValidationError:
        return ()


def _number(evaluation: str, column: Column) -> list[str]:
    """Name, unit, direction and definition of a number of an evaluation."""
    name = column_name(evaluation, column)
    return [f"{name}: unit {column.unit}, {_DIRECTIONS[column.direction]}", f"  {column.definition}"]


def _metric(evaluation: Evaluation, metric: str) -> str:
    lines = []
    columns = _example_columns(evaluation)
    for column in columns:
        if column.metric == metric or f"{column.metric}@{column.argument}" == metric:
            lines += _number(evaluation.name, column)
    if not lines:
        hint = did_you_mean(metric, [column.metric for column in columns])
        raise RequestError(f"{evaluation.name} has no metric {metric!r}; {hint}")
    return "\n".join([*lines, f"source: {evaluation.source}"])


def _bare_metric(name: str) -> list[str]:
    """A metric without its evaluation: what it is, and each evaluation's numbers of this name."""
    numbers: list[str] = []
    for evaluation in EVALUATIONS.values():
        for column in _example_columns(evaluation):
            first = f"{evaluation.name}.{column.metric}" not in "".join(numbers)
            if first and name in (column.metric, column.metric.rpartition(".")[2]):
                numbers += _number(evaluation.name, column)
    head, *rest = glossary.metric(name) or ([f"{name}: a metric"] if numbers else [""])
    return [head, *rest[:-1], *numbers, *rest[-1:]] if head else []


def _dataset(spec: DatasetSpec) -> str:
    shape = "that of the in-distribution set" if spec.image_shape is None else "x".join(map(str, spec.image_shape))
    classes = "none: out-of-distribution only" if spec.num_classes is None else str(spec.num_classes)
    found = absence(spec, load_settings().data)
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


def _attack(attack: Attack) -> str:
    lines = [
        f"{attack.name}: an attack",
        attack.summary,
        f"source: {attack.source}",
        f"norms: {', '.join(attack.norms)}",
        *_docstring(attack),
        "",
    ]
    lines += ["parameters:", *(f"  {key} = {value!r}" for key, value in attack.parameters.items())]
    return "\n".join(lines)


def _score(score: Score) -> str:
    lines = [
        f"{score.name}: a score for out-of-distribution detection",
        score.summary,
        f"source: {score.source}",
        f"reads: {', '.join(score.reads)}{', of the training items too' if score.fitted else ''}",
        *_docstring(score),
        "",
        f"definition: {score.definition}",
    ]
    parameters = [f"  {key} = {value!r}" for key, value in score.parameters.items()]
    return "\n".join([*lines, *(["", "parameters:", *parameters] if parameters else [])])


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
    """A value in the syntax of a suite file."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"' if isinstance(value, str) and value != "required" else str(value)
