from __future__ import annotations

import json
from pathlib import Path

import bench.report.formats
from bench.report.formats import FORMATS, OFFERED
from bench.report.model import Report


def test_each_module_of_the_folder_is_a_format() -> None:
    folder = Path(bench.report.formats.__file__).parent
    assert set(FORMATS) == {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert {name: format_.ending for name, format_ in FORMATS.items()} == {
        "csv": "csv",
        "html": "html",
        "json": "json",
        "latex": "tex",
        "markdown": "md",
    }


def test_each_name_gives_its_format(report: Report) -> None:
    texts = {name: format_(report) for name, format_ in FORMATS.items()}
    assert json.loads(texts["json"])["suite"] == "tiny_suite"
    assert texts["html"].startswith("<!DOCTYPE html>")
    assert texts["csv"].startswith("suite,profile,table,")
    assert r"\begin{tabular}" in texts["latex"]
    assert texts["markdown"].startswith("**")


def test_siunitx_is_offered_and_not_among_the_files_of_a_run(report: Report) -> None:
    assert set(OFFERED) - set(FORMATS) == {"latex-siunitx"}
    assert list(OFFERED) == sorted(OFFERED)
    assert all(OFFERED[name] == format_ for name, format_ in FORMATS.items())
    assert OFFERED["latex-siunitx"].ending == "tex"
    assert "S[table-format=" in OFFERED["latex-siunitx"](report)
