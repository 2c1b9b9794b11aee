from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import SuiteError
from bench.evaluate.base import EVALUATIONS
from bench.report.literature import literature_names, load_literature
from bench.spec import FAMILIES
from bench.suite.read import load_suite

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "results" / "literature"

GOOD = """\
[source]
name = "x-2020"
title = "X 2020"
url = "https://example.org"

[[row]]
label = "softmax"
dataset = "cifar10"
table = "Table 1"
[row.values]
accuracy = 0.95
"pgd-40@8/255" = 0.1
"""


def test_a_source(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(GOOD, encoding="utf-8")
    source = load_literature("x", [tmp_path / "absent", tmp_path])
    assert (source.source.name, source.source.title, source.source.url) == ("x-2020", "X 2020", "https://example.org")
    (row,) = source.rows
    assert (row.label, row.family, row.dataset, row.table) == ("softmax", "", "cifar10", "Table 1")
    assert row.values == {"accuracy": 0.95, "pgd-40@8/255": 0.1}


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for name, title in (("first", "mine"), ("second", "theirs")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.toml").write_text(GOOD.replace("X 2020", title), encoding="utf-8")
    assert load_literature("x", [tmp_path / "first", tmp_path / "second"]).source.title == "mine"
    assert literature_names([tmp_path / "first", tmp_path / "absent"]) == {"x"}


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("accuracy = 0.95", 'accuracy = "95%"', 11, "row[0].values.accuracy"),
        ('dataset = "cifar10"\n', "", 6, "row[0].dataset"),
        ('url = "https://example.org"\n', "", 1, "source.url"),
        ("table =", "tabel = 1\ntable =", 9, "row[0].tabel"),
    ],
)
def test_mistakes_are_located(tmp_path: Path, old: str, new: str, line: int, key: str) -> None:
    assert old in GOOD
    (tmp_path / "x.toml").write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(SuiteError) as error:
        load_literature("x", [tmp_path])
    (problem,) = error.value.problems
    assert (problem.file, problem.line, problem.key) == (tmp_path / "x.toml", line, key)


def test_an_unknown_source(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="x"):
        load_literature("x", [tmp_path])


@pytest.mark.parametrize("name", sorted(literature_names([SHIPPED])))
class TestShipped:
    def test_numbers_are_what_they_claim_to_be(self, name: str) -> None:
        source = load_literature(name, [SHIPPED])
        assert source.source.name == name
        assert source.source.url.startswith("https://")
        for row in source.rows:
            assert row.table
            assert row.family in {"", *FAMILIES.names()}
            for column, value in row.values.items():
                kind = column.partition(".")[0].partition("@")[0]
                fraction = kind.startswith(("accuracy", "pgd")) or "ece" in column or "auroc" in column
                assert 0 <= value <= 1 if fraction else value >= 0, (column, value)

    def test_every_column_is_one_of_a_shipped_suite(self, name: str) -> None:
        """A quoted number that no table can show would be dead, or its column misspelt."""
        columns = set()
        for path in sorted((ROOT / "suites").glob("*.toml")):
            suite = load_suite(path, literature=literature_names([SHIPPED]))
            columns |= {c.id for table in suite.tables if name in table.literature for c in table.columns}
        for row in load_literature(name, [SHIPPED]).rows:
            assert set(row.values) <= columns, set(row.values) - columns


def test_evaluations_of_the_shipped_suites_exist() -> None:
    assert {"accuracy", "pgd", "cw"} <= set(EVALUATIONS.names())
