"""What no command foresaw ends in a sentence and an exit code; a traceback is shown only with --debug."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from bench.cli.main import INTERNAL, cli
from bench.errors import BenchError, DamagedFileError, NothingSelectedError, PrerequisiteError, RequestError
from tests.cli.conftest import bench, ok

if TYPE_CHECKING:
    from tests.conftest import Project


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What ``bench list`` raises."""
    errors: list[BaseException] = []

    def raises(*_: object, **__: object) -> None:
        raise errors[0]

    monkeypatch.setattr(cli.commands["list"], "callback", raises)
    monkeypatch.setattr(cli.commands["list"], "params", [])
    return errors


def run(*options: str) -> Result:
    return CliRunner().invoke(cli, [*options, "list"])


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (BenchError("no"), 1, "no"),
        (RequestError("no"), 2, "no"),
        (NothingSelectedError("no"), 3, "no"),
        (PrerequisiteError("no"), 5, "no"),
        (DamagedFileError(Path("/a/b.npz"), "is missing"), 5, "/a/b.npz is missing"),
        (OSError(28, "No space left on device"), 5, "No space left on device"),
        (PermissionError(13, "Permission denied", "/a/b"), 5, "/a/b: Permission denied"),
        (NotADirectoryError(20, "Not a directory", "/a/b"), 5, "/a/b: Not a directory"),
        (MemoryError(), 5, "out of memory"),
        (RecursionError(), 2, "nested too deeply"),
        (KeyError("lower"), INTERNAL, "unexpected KeyError: 'lower'\nThis is a defect of bench or of a plug-in"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_are_sentences(failing: list[BaseException], error: BaseException, code: int, text: str) -> None:
    failing.append(error)
    result = run()
    assert result.exit_code == code
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_a_traceback_is_for_who_asks(failing: list[BaseException]) -> None:
    failing.append(KeyError("lower"))
    with pytest.raises(KeyError):
        CliRunner().invoke(cli, ["--debug", "list"], catch_exceptions=False)


def test_wrong_options_are_clicks(failing: list[BaseException]) -> None:
    failing.append(click.UsageError("no such option"))
    assert run().exit_code == 2


def command(project: Project, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A shell line in which BENCH is the command."""
    line = line.replace("BENCH", f"{sys.executable} -m bench")
    return subprocess.run(
        ["bash", "-c", line], cwd=project.root, capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "BENCH list families >&-",
        "BENCH list families > /dev/full",
        "BENCH status digits",
        "BENCH run digits",
        "BENCH clean",
    ],
)
def test_a_machine_that_refuses(project: Project, line: str) -> None:
    (project.root / "results").write_text("a file")
    answer = command(project, line)
    assert answer.returncode == 5, answer
    assert answer.stderr.startswith("bench: ")
    assert len(answer.stderr.strip().splitlines()) == 1, answer.stderr


def test_a_reader_that_has_seen_enough(project: Project) -> None:
    answer = command(project, "BENCH describe gmmc-gen | head -1; BENCH list datasets | true")
    assert answer.stderr == ""


def test_text_that_the_terminal_cannot_show(project: Project) -> None:
    answer = command(project, "BENCH run nö", PYTHONIOENCODING="ascii")
    assert answer.returncode == 2
    assert "unknown suite" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_working_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    """It used to be "[Errno 2] No such file or directory", of whatever."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        "import os, sys; os.rmdir(os.getcwd()); from bench.cli.main import main; sys.argv = ['bench', 'list']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=gone, capture_output=True, text=True, timeout=60)
    assert done.returncode == PrerequisiteError.exit_code
    assert done.stderr == "bench: the working folder cannot be used: No such file or directory; change to another one\n"


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_an_interrupt_inside_of_code_from_text_exits_with_130(number: str, tmp_path: Path) -> None:
    """Dataclasses run code from text while they are imported: ``python -m bench`` then ended by SIGINT."""
    (tmp_path / "interrupted.py").write_text(f"""
import signal, sys
import bench.cli.main as m

@m.cli.command()
def text():
    eval("signal.raise_signal(signal.{number})", {{"signal": signal}})

sys.argv = ["bench", "text"]
m.main()
""")
    command = [sys.executable, "-m", "interrupted"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "bench: interrupted\n")


class TestHelp:
    def test_every_command_is_listed_and_explained(self) -> None:
        text = ok("--help")
        for name, command in cli.commands.items():
            assert f"\n  {name} " in text
            assert (command.help or "").strip(), name
            assert ok(name, "--help").startswith(f"Usage: cli {name}")

    def test_every_option_is_explained(self) -> None:
        for name, command in cli.commands.items():
            for option in command.params:
                if isinstance(option, click.Option) and option.name != "device":  # its choices explain it
                    assert option.help, f"{name} --{option.name}"

    def test_version(self) -> None:
        assert ok("--version").startswith("bench, version ")

    @pytest.mark.parametrize("arguments", [["rnu"], ["list", "familie"], ["run", "--device", "tpu"], ["check"]])
    def test_wrong_usage_is_a_wrong_request(self, arguments: list[str]) -> None:
        assert bench(*arguments).exit_code == 2
