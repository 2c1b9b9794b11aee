from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.errors import RequestError, SuiteError
from bench.suite.settings import find_profile, find_suite, load_settings, suite_folders

if TYPE_CHECKING:
    from tests.conftest import Project


def test_defaults_without_any_file(tmp_path: Path) -> None:
    settings = load_settings(tmp_path, {"XDG_CACHE_HOME": "/cache"})
    assert settings.home == tmp_path
    assert settings.results == tmp_path / "results"
    assert (settings.data, settings.weights) == (Path("/cache/bench/data"), Path("/cache/bench/weights"))
    assert settings.default_suite == "digits"
    assert set(settings.sources.values()) == {"default"}


def test_the_file_is_looked_for_upwards_and_overridden(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text(
        '[paths]\ndata = "d"\nresults = "r"\nweights = "/w"\n[run]\ndefault_suite = "x"\n', encoding="utf-8"
    )
    (tmp_path / "bench.local.toml").write_text('[paths]\nresults = "local"\n', encoding="utf-8")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    settings = load_settings(below, {"BENCH_DATA": "/elsewhere"})
    assert settings.home == tmp_path
    assert settings.results == tmp_path / "local"
    assert (settings.data, settings.weights) == (Path("/elsewhere"), Path("/w"))
    assert settings.default_suite == "x"
    assert settings.sources == {
        "data": "BENCH_DATA",
        "results": "bench.local.toml",
        "weights": "bench.toml",
        "default_suite": "bench.toml",
    }


def test_an_empty_variable_says_nothing(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {"BENCH_RESULTS": ""}).results == tmp_path / "results"


def test_mistakes_are_located(tmp_path: Path) -> None:
    (tmp_path / "bench.toml").write_text('[paths]\nresult = "r"\n', encoding="utf-8")
    (tmp_path / "bench.local.toml").write_text("[paths]\ndata = 3\n", encoding="utf-8")
    with pytest.raises(SuiteError) as error:
        load_settings(tmp_path, {})
    found = {(p.file, p.line, p.key) for p in error.value.problems}
    assert found == {
        (tmp_path / "bench.toml", 2, "paths.result"),
        (tmp_path / "bench.local.toml", 2, "paths.data"),
    }
    assert "did you mean 'results'?" in str(error.value)


class TestCluster:
    def test_without_a_section_the_cluster_decides(self, tmp_path: Path) -> None:
        asked = load_settings(tmp_path, {}).cluster.asked("train")
        assert {name for name, value in asked if value is not None} == {"time"}

    def test_kinds_override_and_the_local_file_overrides_key_by_key(self, tmp_path: Path) -> None:
        (tmp_path / "bench.toml").write_text(
            '[cluster]\npartition = "all"\ntime = 60\ngpus = 1\nsetup = ["module load cuda"]\n'
            "[cluster.train]\ntime = 600\ncpus = 4\n[cluster.evaluate]\ngpus = 0\n",
            encoding="utf-8",
        )
        (tmp_path / "bench.local.toml").write_text(
            '[cluster]\npartition = "fast"\njobs = 7\n[cluster.train]\ncpus = 8\n', encoding="utf-8"
        )
        cluster = load_settings(tmp_path, {}).cluster
        train, predict, evaluate = (cluster.asked(kind) for kind in ("train", "predict", "evaluate"))
        assert (train.partition, train.time, train.cpus, train.gpus) == ("fast", 600, 8, 1)
        assert (predict.time, predict.cpus, predict.gpus) == (60, None, 1)
        assert (evaluate.gpus, evaluate.setup) == (0, ("module load cuda",))
        assert cluster.jobs == 7
        assert cluster.asked("train", network=False).gpus is None

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ('partiton = "all"', "did you mean 'partition'?"),
            ('time = "2h"', "expected a whole number"),
            ('memory = "much"', "memory"),
            ("time = 4", "greater than or equal to 5"),
            ("gpus = -1", "gpus"),
            ("gpus = 2", "gpus"),
            ("jobs = 0", "jobs"),
            ('partition = "a b"', "partition"),
            ('setup = ["a\\nb"]', "setup"),
            ('train = { partiton = "x" }', "did you mean 'partition'?"),
        ],
    )
    def test_mistakes_are_located(self, tmp_path: Path, line: str, said: str) -> None:
        (tmp_path / "bench.toml").write_text(f"[cluster]\n{line}\n", encoding="utf-8")
        with pytest.raises(SuiteError) as error:
            load_settings(tmp_path, {})
        (problem,) = error.value.problems
        assert (problem.file, problem.line) == (tmp_path / "bench.toml", 2)
        assert said in str(problem)


def test_suites_by_name_and_by_path(project: Project) -> None:
    settings = load_settings()
    mine = project.suite(name="mine")
    assert find_suite("mine", settings) == mine
    assert find_suite("suites/mine.toml", settings).resolve() == mine
    assert find_suite("digits", settings).parent == suite_folders(settings)[-1]  # comes with the package


def test_the_projects_own_suite_wins(project: Project) -> None:
    mine = project.suite(name="digits")
    assert find_suite("digits", load_settings()) == mine


def test_profiles_are_found_alike(project: Project) -> None:
    settings = load_settings()
    mine = project.profile("[profile]\nname = 'small'\n")
    assert find_profile("small", settings) == mine
    assert find_profile("smoke", settings).name == "smoke.toml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digts", r"unknown suite 'digts'; did you mean 'digits'\?"),
        ("suites/digts.toml", r"suites/digts\.toml: no such file; did you mean 'digits'\?"),
    ],
)
def test_near_misses_are_suggested(project: Project, name: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        find_suite(name, load_settings())


@pytest.mark.parametrize("name", ["mine.tml", "./mine.tom", "mein.toml"])
def test_a_file_of_a_near_name_in_the_same_folder_is_suggested(project: Project, name: str) -> None:
    project.write("mine.toml", "")
    with pytest.raises(RequestError, match=r"did you mean 'mine\.toml'\?"):
        find_suite(name, load_settings())


def test_a_default_suite_by_path_is_relative_to_the_settings_file(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("bench.toml", '[run]\ndefault_suite = "mine/s.toml"\n')
    suite = project.write("mine/s.toml", project.suite().read_text(encoding="utf-8"))
    below = project.root / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert project.bench.suite().path == suite
