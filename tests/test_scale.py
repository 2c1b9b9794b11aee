"""What a command does for each job of a suite is bounded, and the same however many jobs there are.

Files opened and looked at, texts parsed and functions called are counted, not timed, on the made-up suites of
``benchmarks/scale.py``: a suite of n models has 23 n jobs, and as many results.
"""

from __future__ import annotations

import builtins
import importlib
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bench.api import Bench
from bench.cli.main import cli
from bench.store import checked

MODELS = (2, 4, 6)
JOBS = 23
"""Jobs of a model: training, two predictions, twenty evaluations."""
MOST: dict[str, dict[str, float]] = {
    # Calls of Python functions are a fourth more than there were: who adds some shall notice.
    # For each job: a look at its record and at each file of its result; its record and checked.json are read.
    "check": {"open": 0, "stat": 0, "parse": 0, "call": 140},
    "status": {"open": 2, "stat": 2.1, "parse": 2, "call": 260},
    # Beside these a look at each record of the store.
    "plan": {"open": 2, "stat": 4.1, "parse": 2, "call": 370},
    # Beside those of `status` the number of each cell, its arrays, and the look before either.
    "table": {"open": 3.4, "stat": 4.4, "parse": 2.9, "call": 600},
}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts of files opened and looked at, of JSON parsed, and of Python functions called."""
    counts: Counter[str] = Counter()

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **options)

        return call

    def called(_frame: object, event: str, _argument: object) -> None:
        counts["call"] += event == "call"

    with pytest.MonkeyPatch.context() as patch:
        for module, attribute, name in (
            (builtins, "open", "open"),
            (io, "open", "open"),
            (os, "open", "open"),
            (os, "stat", "stat"),
            (json, "loads", "parse"),
        ):
            patch.setattr(module, attribute, noted(name, getattr(module, attribute)))
        sys.setprofile(called)
        try:
            yield counts
        finally:
            sys.setprofile(None)


@pytest.fixture(scope="module")
def scale() -> Iterator[Any]:
    """The benchmark, as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        yield importlib.import_module("scale")
        sys.modules.pop("scale", None)


@pytest.fixture(scope="module")
def homes(scale: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """By number of models, a project whose suite has all of its results."""
    found = {}
    for models in MODELS:
        home = found[models] = tmp_path_factory.mktemp(str(models))
        (home / "bench.toml").write_text('[paths]\nresults = "results"\n')
        (home / "scale.toml").write_text(scale.suite_text(models))
        scale.finish(Bench.here(home), home / "scale.toml")
    return found


def count(command: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What a command does in a process that has done nothing before, but for imports."""
    monkeypatch.chdir(home)
    monkeypatch.delenv("BENCH_RESULTS", raising=False)
    every = []
    for _ in range(2):  # the first for what is imported and described once
        checked._LOOKS.clear()
        with counted() as counts:
            answer = CliRunner().invoke(cli, [command, "scale.toml"], catch_exceptions=False)
        assert answer.exit_code == 0
        every.append(counts)
    return every[-1]


@pytest.mark.parametrize("command", MOST)
def test_a_command_does_little_for_each_job(
    homes: dict[int, Path], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, some, many = (count(command, homes[models], monkeypatch) for models in MODELS)
    for name, most in MOST[command].items():
        each = (many[name] - few[name]) / (JOBS * (MODELS[2] - MODELS[0]))
        assert each <= most, name
    for name in ("open", "stat", "parse", "call"):
        # As much for the third pair of models as for the second.
        assert many[name] - some[name] == pytest.approx(some[name] - few[name], rel=0.008, abs=5), name


@pytest.mark.parametrize("command", ["check", "status", "table"])
def test_results_of_other_suites_cost_nothing(
    homes: dict[int, Path], scale: Any, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = homes[MODELS[0]]
    before = count(command, home, monkeypatch)
    store = Bench.here(home).store
    others = set(store.job_keys())
    scale.fill(store, len(others) + 40)
    try:
        assert len(set(store.job_keys()) - others) == 40
        assert count(command, home, monkeypatch) == before
    finally:
        for key in set(store.job_keys()) - others:
            store.remove(store.folder(key))
