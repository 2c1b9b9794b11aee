"""Checks of evaluations, attacks and scores: each measures a small trained model, twice, in folders of its own."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.api import Bench
from bench.conformance import small
from bench.conformance.check import Check, require
from bench.errors import RequestError
from bench.store import Record

__all__ = ["checks"]

_FAMILY = "bench.conformance.small:FAMILY"
_BACKBONE = "bench.conformance.small:BACKBONE"
_SUITE = """\
[suite]
name = "conformance"
[data]
dataset = "data.npz"
validation = 12
[[model]]
family = {family}
backbone = {backbone}
name = "small"
epochs = 3
batch_size = 16
warmup = 0
lr = 2e-3
decay_epochs = []
[[evaluation]]
id = "checked"
{evaluation}
"""


def checks(kind: str, name: str, plug_in: Any, params: Mapping[str, Any], family: str | None) -> tuple[Check, ...]:
    """The checks of an evaluation, attack or score."""
    trial = Trial(kind, name, plug_in, params, family)
    found: list[tuple[str, Callable[[], None]]] = [
        ("a suite that uses it is accepted, its columns and costs are known", trial.planned),
        ("it runs, and its numbers are those that it declares", trial.measured),
        ("it runs twice: the same numbers and the same arrays", trial.repeated),
        ("a finished suite runs nothing again", trial.cached),
    ]
    return tuple(Check(text, run) for text, run in found)


class Trial:
    """A suite with one small model and the plug-in.

    Args:
        kind: ``"evaluation"``, ``"attack"`` or ``"score"``.
        name: Name or reference of the plug-in.
        plug_in: The plug-in.
        params: Its parameters.
        family: The family of the model; None: the harness's own small network.
    """

    def __init__(self, kind: str, name: str, plug_in: Any, params: Mapping[str, Any], family: str | None) -> None:
        self.kind, self.name, self.plug_in, self.params = kind, name, plug_in, dict(params)
        self.family = family or _FAMILY
        self._made = 0
        self._root = Path(tempfile.mkdtemp(prefix="bench-conformance-"))
        weakref.finalize(self, shutil.rmtree, self._root, ignore_errors=True)

    def evaluation(self) -> dict[str, Any]:
        """The keys of the ``[[evaluation]]`` that uses the plug-in."""
        if self.kind == "evaluation":
            return {"kind": self.name, **self.params}
        if self.kind == "score":
            named = {"params": {self.plug_in.name: self.params}} if self.params else {}
            return {"kind": "ood", "sets": ["uniform"], "scores": [self.name], **named}
        attack: Any = self.plug_in
        budget = {} if attack.minimises_norm else {"eps": ["8/255"]}
        return {"kind": "attack", "attack": self.name, "norm": attack.norms[0], "items": 12, **budget,
                **({"params": self.params} if self.params else {})}  # fmt: skip

    def bench(self) -> Bench:
        """A new folder with data and suite; it is deleted with the trial."""
        self._made += 1
        root = self._root / str(self._made)
        root.mkdir()
        (root / "bench.toml").write_text('[paths]\nresults = "results"\n', encoding="utf-8")
        arrays: dict[str, Any] = {}
        for part, items in (("train", 132), ("test", 24)):
            split = small.part(part, items)
            arrays[f"x_{part}"] = (split.unit_images()[:, 0] * 255).astype(np.uint8)
            arrays[f"y_{part}"] = split.labels
        np.savez(root / "data.npz", allow_pickle=False, **arrays)
        lines = "\n".join(f"{key} = {_toml(value)}" for key, value in self.evaluation().items())
        backbone = _BACKBONE if self.family == _FAMILY else _smallest()
        text = _SUITE.format(family=_toml(self.family), backbone=_toml(backbone), evaluation=lines)
        (root / "suite.toml").write_text(text, encoding="utf-8")
        return Bench.here(root)

    def planned(self) -> None:
        """The suite has no mistake, and nothing prevents its jobs."""
        bench = self.bench()
        plan = bench.plan(bench.settings.home / "suite.toml")
        jobs = [job for job in plan.jobs if job.evaluation == "checked"]
        blocked = next((job.blocked for job in jobs if job.blocked), None)
        require(not blocked, f"it cannot measure the model: {blocked}; --family names another one")
        require(
            all(math.isfinite(job.passes) and job.passes >= 0 for job in jobs), "passes: no finite cost of 0 or more"
        )

    def _run(self, bench: Bench) -> dict[str, Record]:
        """The records of the plug-in's jobs, by job."""
        done = bench.run(bench.settings.home / "suite.toml", in_process=True, device="cpu")
        for job in done.plan.jobs:
            state = done.summary.states[job.key]
            require(state.state == "done", f"{job.id} is {state.state}: {state.reason}")
        found = {}
        for job in done.plan.jobs:
            if job.evaluation == "checked":
                record = bench.store.folder(job.key).record()
                assert record is not None
                found[job.key] = record
        return found

    @cached_property
    def first(self) -> tuple[Bench, dict[str, Record]]:
        """The first run."""
        bench = self.bench()
        return bench, self._run(bench)

    def measured(self) -> None:
        """Every declared number is there; the worker held the outcome against the columns."""
        _, records = self.first
        numbers = [number for record in records.values() for number in _numbers(record)]
        require(bool(numbers), "no number was measured")
        with_value = [number for number in numbers if number["value"] is not None]
        reasons = {number["reason"] for number in numbers if number["value"] is None}
        require(bool(with_value), f"no number has a value: {'; '.join(sorted(map(str, reasons)))}")

    def repeated(self) -> None:
        """Another run, with a training of its own, gives equal numbers and arrays."""
        bench, records = self.first
        again = self.bench()
        for key, record in self._run(again).items():
            require(key in records, "the keys of two equal suites differ: is something in a parameter not fixed?")
            one, other = _numbers(records[key]), _numbers(record)
            for left, right in zip(one, other, strict=True):
                name = f"{left['metric']}@{left['argument']}" if left["argument"] else left["metric"]
                require(
                    left["value"] == right["value"],
                    f"{name} is {left['value']} and then {right['value']}: derive noise from (seed, id of the item)",
                )
            if record.measured.items is not None:
                pair = [made.store.folder(key).arrays(record.measured.items) for made in (bench, again)]
                for name in pair[0]:
                    require(
                        _same(pair[0][name], pair[1][name]),
                        f"the array {name!r} differs between two runs: derive noise from (seed, id of the item)",
                    )

    def cached(self) -> None:
        """After a run, every job is done."""
        bench, _ = self.first
        plan = bench.plan(bench.settings.home / "suite.toml")
        left = [job.id for job in plan.jobs if bench.states(plan)[job.key].state != "done"]
        require(not left, f"{', '.join(left)} would run again: its key changes from reading to reading")


def _numbers(record: Record) -> list[dict[str, Any]]:
    numbers: list[dict[str, Any]] = record.as_json()["numbers"]
    return numbers


def _same(one: Any, other: Any) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


def _smallest() -> str:
    """The registered network with the fewest parameters."""
    from bench.spec import BACKBONES

    sizes = {}
    for spec in BACKBONES.values():
        for name in spec.examples:
            try:
                sizes[name] = spec.describe(name, small.SHAPE).get("parameters", math.inf)
            except ValueError:
                continue
    if not sizes:
        raise RequestError("no registered backbone takes the images of the check")
    return min(sizes, key=lambda name: sizes[name])


def _toml(value: Any) -> str:
    """A value in TOML; strings, numbers, lists and tables in line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
