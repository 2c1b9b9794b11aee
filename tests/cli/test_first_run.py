"""``bench run`` without a suite, where nobody has said which one is meant."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from bench.cli.main import cli
from tests.cli.conftest import bench

if TYPE_CHECKING:
    from tests.conftest import Project


class Terminal:
    """A stream of a terminal, as far as anybody asks."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def isatty(self) -> bool:
        return True


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The suites that were run, instead of running them."""
    found: list[Any] = []

    def run(_: Any, suite: Any, **__: Any) -> Any:
        found.append(suite)
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.api.Bench.run", run)
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person sits at a terminal."""
    invoke = cli.invoke

    def at_a_terminal(ctx: Any) -> Any:
        monkeypatch.setattr(sys, "stdin", Terminal(sys.stdin))
        monkeypatch.setattr(sys, "stderr", Terminal(sys.stderr))
        return invoke(ctx)

    monkeypatch.setattr(cli, "invoke", at_a_terminal)


@pytest.mark.parametrize("command", ["run", "train"])
def test_nothing_starts_without_being_named(project: Project, ran: list[Any], command: str) -> None:
    result = bench(command)
    assert (result.exit_code, ran) == (2, [])
    lines = result.stderr.splitlines()
    assert lines[0].startswith("bench: no suite was named, and no bench.toml here or above says which is the default")
    assert "The demo is 'digits': Softmax, JEM and GMMC on handwritten digits" in lines[1]
    assert " to run: " in lines[2]
    assert lines[2].endswith(" network passes, unknown time")
    assert lines[3] == f"Results would be written below {project.results}"
    assert lines[4] == "To run it, name it: bench run digits"
    assert not project.results.exists()


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("answer", "expected"), [("y\n", [None]), ("n\n", []), ("\n", [])])
def test_on_a_terminal_a_person_decides(project: Project, ran: list[Any], answer: str, expected: list[Any]) -> None:
    result = bench("run", answer=answer)
    assert "Results would be written below" in result.stderr
    assert ran == expected
    assert result.exit_code == (130 if expected else 2)
    assert ("nothing was run" in result.stderr) == (not expected)


def test_who_names_a_suite_is_not_asked(project: Project, ran: list[Any]) -> None:
    assert bench("run", "digits").exit_code == 130
    project.suite()
    (project.root / "bench.toml").write_text('[run]\ndefault_suite = "tiny"\n', encoding="utf-8")
    assert bench("run").exit_code == 130
    assert ran == ["digits", None]


def test_looking_at_the_plan_needs_no_name(project: Project) -> None:
    assert bench("plan").exit_code == bench("run", "--dry-run").exit_code == 0


def test_train_takes_the_name_of_a_model(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.suite()
    given: list[Any] = []

    def run(_: Any, suite: Any, *, only: Any, **__: Any) -> Any:
        given.append(only)
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.api.Bench.run", run)
    bench("train", "tiny")
    bench("train", "tiny", "--only", "softmax", "--only", "gmmc-*/digits/seed1", "--only", "*/train")
    assert given == [("*/train",), ("softmax/*/train", "gmmc-*/digits/seed1/train", "*/train")]
