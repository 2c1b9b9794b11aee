from __future__ import annotations

from pathlib import Path

import bench.report.figures
from bench.report.figures import SUFFIXES


def test_each_module_of_the_folder_is_a_kind_with_files_of_its_own() -> None:
    folder = Path(bench.report.figures.__file__).parent
    assert len(set(SUFFIXES)) == len(SUFFIXES) == len(list(folder.glob("*.py"))) - 1
