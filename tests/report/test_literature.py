from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from bench.errors import SuiteError
from bench.evaluate.base import EVALUATIONS
from bench.report.literature import Literature, literature_names, load_literature
from bench.spec import FAMILIES, settings
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
    assert (row.page, row.n) == (None, None)
    assert {row.group, row.threat, row.secondary, row.caveat} == {""}


def test_what_a_row_may_say_of_its_numbers(tmp_path: Path) -> None:
    more = 'page = 9\ngroup = "Hybrid"\nn = 10_000\nthreat = "L_inf"\nsecondary = "Y 2021"\ncaveat = "Mind."\ntable ='
    (tmp_path / "x.toml").write_text(GOOD.replace("table =", more), encoding="utf-8")
    (row,) = load_literature("x", [tmp_path]).rows
    assert (row.page, row.group, row.n) == (9, "Hybrid", 10_000)
    assert (row.threat, row.secondary, row.caveat) == ("L_inf", "Y 2021", "Mind.")


def test_one_table_of_a_source(tmp_path: Path) -> None:
    row = GOOD[GOOD.index("[[row]]") :]
    text = GOOD + row.replace("Table 1", "Table 2") + row.replace("softmax", "JEM").replace("Table 1", "Table 2")
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    assert literature_names([tmp_path]) == {"x", "x/Table 1", "x/Table 2"}
    assert [row.label for row in load_literature("x/Table 2", [tmp_path]).rows] == ["softmax", "JEM"]
    assert load_literature("x/Table 2", [tmp_path]).source == load_literature("x", [tmp_path]).source
    with pytest.raises(FileNotFoundError, match="x/Table 3"):
        load_literature("x/Table 3", [tmp_path])


def test_a_file_that_cannot_be_read_is_named_and_tells_why_when_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[source\n", encoding="utf-8")
    assert literature_names([tmp_path]) == {"x"}
    with pytest.raises(SuiteError):
        load_literature("x", [tmp_path])


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for name, title in (("first", "mine"), ("second", "theirs")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.toml").write_text(GOOD.replace("X 2020", title), encoding="utf-8")
    assert load_literature("x", [tmp_path / "first", tmp_path / "second"]).source.title == "mine"
    assert literature_names([tmp_path / "first", tmp_path / "absent"]) == {"x", "x/Table 1"}


def test_the_tables_are_those_of_the_first_folder(tmp_path: Path) -> None:
    for name, table in (("first", "Table 1"), ("second", "Table 2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.toml").write_text(GOOD.replace("Table 1", table), encoding="utf-8")
    assert literature_names([tmp_path / "first", tmp_path / "second"]) == {"x", "x/Table 1"}


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("accuracy = 0.95", 'accuracy = "95%"', 11, "row[0].values.accuracy"),
        ('dataset = "cifar10"\n', "", 6, "row[0].dataset"),
        ('url = "https://example.org"\n', "", 1, "source.url"),
        ("table =", "tabel = 1\ntable =", 9, "row[0].tabel"),
        ("table =", "page = 0\ntable =", 9, "row[0].page"),
        ("table =", "n = 0.5\ntable =", 9, "row[0].n"),
        ("accuracy = 0.95", "accuracy = nan", 11, "row[0].values.accuracy"),
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


SOURCES = sorted(path.stem for path in SHIPPED.glob("*.toml"))

COMING = {
    *("accuracy", "fid", "fid.is", "calibration.ece", "autoattack@8/255", "autoattack-l2@0.5"),
    *(f"energies.{which}@{update}" for which in ("real", "sampled") for update in range(7)),
    *(
        f"ood.{score}.auroc@{name}"
        for score in ("log-density", "max-probability", "approximate-mass")
        for name in ("svhn", "interpolations", "cifar100", "celeba")
    ),
}
"""Columns of the paper's tables and of AutoAttack that no shipped suite need have yet."""

SHARE = re.compile(r"accuracy|pgd-|autoattack|calibration\.ece|ood\..*auroc|sampler\.reinit")


def values(source: Literature, table: str, label: str, dataset: str = "cifar10") -> list[dict[str, float]]:
    return [dict(row.values) for row in source.rows if (row.table, row.label, row.dataset) == (table, label, dataset)]


@pytest.mark.parametrize("name", SOURCES)
class TestShipped:
    def test_numbers_are_what_they_claim_to_be(self, name: str) -> None:
        source = load_literature(name, [SHIPPED])
        assert source.source.name == name
        assert source.source.url.startswith("https://")
        for row in source.rows:
            assert row.family in {"", *FAMILIES.names()}
            assert row.n in {None, {"svhn": 26_032}.get(row.dataset, 10_000)}
            assert row.caveat == "" or row.caveat.endswith(".")
            for column, value in row.values.items():
                if SHARE.match(column):
                    assert 0 <= value <= 1, (column, value)
                elif not column.startswith("energies"):
                    assert value > 0, (column, value)

    def test_every_column_is_one_of_a_suite_or_a_setting(self, name: str) -> None:
        """A quoted number that no table can show would be dead, or its column misspelt."""
        columns = set(COMING)
        for path in sorted((ROOT / "suites").glob("*.toml")):
            suite = load_suite(path, literature=literature_names([SHIPPED]))
            columns |= {column.id for table in suite.tables for column in table.columns}
        for row in load_literature(name, [SHIPPED]).rows:
            keys = (
                {setting.key for setting in settings(FAMILIES.get(row.family).config)}
                if row.table == "Table 8"
                else columns
            )
            assert set(row.values) <= keys, set(row.values) - keys

    def test_no_number_is_given_twice(self, name: str) -> None:
        given = Counter(
            (row.table, row.label, row.dataset, column)
            for row in load_literature(name, [SHIPPED]).rows
            for column in row.values
        )
        assert [place for place, times in given.items() if times > 1] == []

    def test_a_column_of_robust_numbers_has_one_threat_model(self, name: str) -> None:
        threats: dict[str, set[str]] = {}
        for row in load_literature(name, [SHIPPED]).rows:
            for column in row.values:
                if column.startswith(("pgd", "cw", "autoattack")):
                    threats.setdefault(column, set()).add(row.threat)
        assert all(len(found) == 1 and "" not in found for found in threats.values()), threats
        for column, found in threats.items():
            assert found.pop().startswith("L2" if "l2" in column or column.startswith("cw") else "L_inf"), column


class TestPaper:
    """Numbers of every table of the GMMC paper, read from the paper again."""

    source = load_literature("gmmc-2021", [SHIPPED])

    def test_number_of_rows(self) -> None:
        assert Counter(row.table for row in self.source.rows) == {
            "Table 1": 10,
            "Table 2": 4 * 2,
            "Table 3": 3 * 5,
            "Table 5": 4,
            "Table 7": 4,
            "Table 8": 1,
            "Table 9": 3 * 2,
            "Fig. 4": 1,
            "Table 10": 3,
            "Table 10, before the switch": 2,
        }

    @pytest.mark.parametrize(
        ("table", "label", "dataset", "expected"),
        [
            ("Table 1", "Residual Flow", "cifar10", {"accuracy": 0.703, "fid.is": 3.60, "fid": 46.4}),
            ("Table 1", "GMMC", "cifar10", {"accuracy": 0.9408, "fid.is": 7.24, "fid": 37.0}),
            ("Table 1", "WRN w/o BN", "cifar10", {"accuracy": 0.936}),
            ("Table 1", "NCSN", "cifar10", {"fid.is": 8.91, "fid": 25.3}),
            ("Table 2", "Softmax", "cifar100", {"accuracy": 0.726}),
            ("Table 2", "GMMC (Gen)", "svhn", {"accuracy": 0.972}),
            ("Table 9", "JEM", "svhn", {"calibration.ece": 0.0208}),
            ("Table 9", "GMMC", "cifar100", {"calibration.ece": 0.0780}),
            ("Fig. 4", "GMMC (Gen)", "cifar10", {"calibration.ece": 0.0133}),
            ("Table 7", "JEM", "cifar10", {"cw-100": 0.514, "cw-l2-1000": 0.905}),
            ("Table 7", "GMMC (Gen)", "cifar10", {"cw-100": 1.686, "cw-l2-1000": 1.546}),
            ("Table 10, before the switch", "softmax → JEM, 50 steps", "cifar10", {"energies.real@0": -21.2}),
        ],
    )
    def test_whole_rows(self, table: str, label: str, dataset: str, expected: dict[str, float]) -> None:
        assert values(self.source, table, label, dataset) == [expected]

    def test_table_3_in_the_order_of_the_paper(self) -> None:
        gmmc = values(self.source, "Table 3", "GMMC (Gen)")
        assert [list(row.values()) for row in gmmc] == [
            [0.84, 0.75, 0.84, 0.86],
            [0.84, 0.72, 0.81, 0.31],
            [0.88, 0.79, 0.85, 0.87],
        ]
        assert [next(iter(row)).split(".")[1] for row in gmmc] == ["log-density", "max-probability", "approximate-mass"]
        assert values(self.source, "Table 3", "Wide-ResNet")[0]["ood.max-probability.auroc@interpolations"] == 0.77

    def test_table_5(self) -> None:
        labels = ("softmax", "JEM", "GMMC (Dis)", "GMMC (Gen)")
        at_16 = [values(self.source, "Table 5", label)[0]["pgd-40@16/255"] for label in labels]
        assert at_16 == [0.0057, 0.0582, 0.4176, 0.5613]

    def test_table_8_is_what_the_family_says_of_the_paper(self) -> None:
        (row,) = values(self.source, "Table 8", "GMMC (Gen)")
        defaults = {setting.key: setting.default for setting in settings(FAMILIES.get("gmmc-gen").config)}
        assert {key for key, value in row.items() if defaults[key] != value} == {"sampler.step_size"}
        assert row["sampler.step_size"] == 1

    def test_table_10(self) -> None:
        (row,) = values(self.source, "Table 10", "softmax → JEM, 100 steps")
        assert [row[f"energies.real@{update}"] for update in (0, 4, 6)] == [-20.7, 13.9, 23021]
        assert [row[f"energies.sampled@{update}"] for update in (0, 1, 6)] == [-13412, -556, 5.15e9]

    @pytest.mark.parametrize(
        ("table", "label", "word"),
        [
            ("Table 3", "GMMC (Gen)", "below chance"),
            ("Table 5", "GMMC (Gen)", "Table 1 gives 94.08"),
            ("Table 7", "GMMC (Gen)", "smallest perturbations cannot"),
            ("Table 9", "Softmax", "JEM paper"),
            ("Table 10", "softmax → JEM, 20 steps", "sign of -15.4"),
        ],
    )
    def test_caveats(self, table: str, label: str, word: str) -> None:
        found = [row.caveat for row in self.source.rows if (row.table, row.label) == (table, label)]
        assert sum(word in caveat for caveat in found) == 1


def test_successors_say_what_was_read_and_against_what_they_are_robust() -> None:
    rows = load_literature("successors", [SHIPPED]).rows
    assert {row.label for row in rows if not row.secondary} == {"JEM++ (M=10), released weights"}
    robust = {row.label: row for row in rows if any(column.startswith("autoattack") for column in row.values)}
    assert robust["SADA-JEM"].values["autoattack@8/255"] == 0.2963
    assert robust["SADA-JEM (K=5)"].values["autoattack-l2@0.5"] == 0.3193
    assert {row.threat for row in robust.values()} == {"L_inf 8/255, AutoAttack", "L2 0.5, AutoAttack"}


def test_the_shipped_suites_take_tables_not_whole_sources() -> None:
    """A whole source would put the rows of other tables, which have an accuracy, too, into this one."""
    suite = load_suite(ROOT / "suites" / "robustness.toml", literature=literature_names([SHIPPED]))
    taken = {table.id: table.literature for table in suite.tables if table.literature}
    assert taken == {"table5": ("gmmc-2021/Table 5",), "table7": ("gmmc-2021/Table 7",)}


def test_evaluations_of_the_shipped_suites_exist() -> None:
    assert {"accuracy", "pgd", "cw"} <= set(EVALUATIONS.names())
