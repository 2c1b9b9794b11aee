from __future__ import annotations

from pathlib import Path

import bench.report.figures
from bench.report.figures import KINDS
from bench.suite.figures import FIGURES


def test_each_kind_has_options_and_a_module() -> None:
    assert set(KINDS) == set(FIGURES)
    folder = Path(bench.report.figures.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "curves", "item_arrays"}
    assert {draw.__module__.rpartition(".")[2] for draw in KINDS.values()} == modules
