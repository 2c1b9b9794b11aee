"""Whoever changes the source of a versioned component decides whether a number changes; nobody forgets to."""

from __future__ import annotations

import copy
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

refresh = runpy.run_path(str(Path(__file__).with_name("refresh_versions.py")))
COMMITTED: dict[str, Any] = json.loads(refresh["COMMITTED"].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def current() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = refresh["components"]()
    return found


def test_sources_are_those_that_the_versions_stand_for(current: dict[str, dict[str, Any]]) -> None:
    if refresh["python"]() != COMMITTED["python"]:
        pytest.skip(f"the digests were made with Python {COMMITTED['python']}")
    messages = refresh["differences"](COMMITTED["components"], current)
    assert not messages, "\n" + "\n".join(messages)


def test_every_component_is_among_them(current: dict[str, dict[str, Any]]) -> None:
    assert {"training loop", "prediction pass", "backbone wrn", "family judge", "backbone judge-cnn"} <= set(current)
    assert {
        f"family {name}" for name in ("softmax", "jem", "gmmc-dis", "gmmc-gen", "gmmc-joint", "mmc", "igebm")
    } <= set(current)
    assert {f"evaluation {name}" for name in ("accuracy", "calibration", "ood", "pgd", "cw", "generation")} <= set(
        current
    )
    assert {"data set digits", "data set cifar10"} <= set(current)


@pytest.mark.parametrize(
    ("component", "file"),
    [
        ("training loop", "bench/train/loop.py"),
        ("training loop", "bench/data/splits.py"),
        ("training loop", "bench/data/augment.py"),
        ("training loop", "bench/keys.py"),
        ("training loop", "bench/rng/indexed.py"),
        ("global generators", "bench/rng/process.py"),
        ("prediction pass", "bench/predict/outputs.py"),
        ("family gmmc-gen", "models/langevin.py"),
        ("family gmmc-gen", "models/centers.py"),
        ("family jem", "models/replay.py"),
        ("family igebm", "models/spectral.py"),
        ("family softmax", "bench/family.py"),
        ("family judge", "bench/evaluate/judge_network.py"),
        ("backbone wrn", "models/wide_resnet.py"),
        ("evaluation pgd", "bench/attacks/pgd.py"),
        ("evaluation pgd", "bench/attacks/ascent.py"),
        ("evaluation adaptive", "bench/attacks/ascent.py"),
        ("evaluation attack", "bench/attacks/descent.py"),
        ("evaluation cw", "bench/attacks/library.py"),
        ("evaluation eps-sweep", "bench/attacks/chain.py"),
        ("evaluation pgd", "bench/attacks/losses.py"),
        ("evaluation cw", "bench/attacks/libraries.py"),
        ("evaluation pgd", "bench/attacks/judge.py"),
        ("evaluation calibration", "bench/metrics/calibration.py"),
        ("evaluation ood", "bench/scores/density.py"),
        ("evaluation generation", "bench/metrics/frechet.py"),
        ("evaluation generation", "bench/evaluate/samples.py"),
        ("data set patches", "bench/data/sklearn_sets.py"),
    ],
)
def test_what_determines_a_number_is_watched(current: dict[str, dict[str, Any]], component: str, file: str) -> None:
    assert file in current[component]["files"]


def test_what_determines_none_is_not(current: dict[str, dict[str, Any]]) -> None:
    watched = {file for component in current.values() for file in component["files"]}
    assert not {file for file in watched if file.startswith(("bench/report", "bench/cli", "bench/suite", "bench/exec"))}
    assert "models/langevin.py" not in current["family softmax"]["files"]
    assert "bench/metrics/frechet.py" not in current["evaluation accuracy"]["files"]


def test_a_change_is_told_with_what_to_do(current: dict[str, dict[str, Any]]) -> None:
    edited = copy.deepcopy(current)
    edited["family jem"]["files"]["models/jem.py"] = "0" * 16
    edited["family jem"]["digest"] = "0" * 16
    (message,) = refresh["differences"](current, edited)
    assert message.startswith("family jem: models/jem.py changed and version 1 did not. If a number can change, raise")
    assert message.endswith("run: python tests/refresh_versions.py")

    edited["family jem"]["version"] += 1
    (message,) = refresh["differences"](current, edited)
    assert message.startswith("family jem: version 1 is now 2; run: python tests/refresh_versions.py")

    added = {**current, "family new": current["family jem"]}
    assert refresh["differences"](current, added) == ["family new: new; run: python tests/refresh_versions.py"]
    assert refresh["differences"](current, current) == []
