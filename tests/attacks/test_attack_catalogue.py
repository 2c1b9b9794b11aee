from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from bench.attacks.catalogue import ENTRIES, find


def test_listing_attacks_needs_no_torch() -> None:
    code = (
        "import sys, bench.attacks, bench.attacks.catalogue, bench.attacks.diagnostics\n"
        "assert bench.attacks.parse_eps('8/255') == 8 / 255\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ENTRIES)
def test_entries_are_complete_and_their_code_exists(name: str) -> None:
    entry = find(name)
    assert entry.name == name
    assert entry.summary.endswith(".")
    assert entry.source
    assert set(entry.norms) <= {"linf", "l2"}
    module, _, function = entry.implementation.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_parameters_are_overlaid_on_defaults() -> None:
    resolved = find("pgd").resolve({"steps": 5})
    assert resolved == {**find("pgd").parameters, "steps": 5}
    assert find("pgd").parameters["steps"] == 40


def test_near_misses_are_suggested() -> None:
    with pytest.raises(ValueError, match=r"unknown attack 'torchattack.PGD'; did you mean 'torchattacks.PGD'"):
        find("torchattack.PGD")
    with pytest.raises(ValueError, match=r"no parameter 'restart'; did you mean 'restarts'"):
        find("pgd").resolve({"restart": 2})
    with pytest.raises(ValueError, match=r"no parameter 'zzz' \(known: steps"):
        find("pgd").resolve({"zzz": 2})
