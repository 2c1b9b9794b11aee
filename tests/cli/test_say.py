"""What commands print, into what a process is given as standard streams."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bench.cli
from tests.cli.conftest import bench as run

if TYPE_CHECKING:
    from tests.conftest import Project, Results, Site

COMMAND = [sys.executable, "-m", "bench"]


def test_no_command_prints_past_the_place_that_escapes() -> None:
    """Text of others reaches a terminal through ``bench.cli.say`` alone."""
    for path in Path(bench.cli.__file__).parent.glob("*.py"):
        if path.name != "say.py":
            found = re.findall(r"click\.s?echo\(|\bprint\(|sys\.stdout\.write|json\.dumps", path.read_text("utf-8"))
            assert found == [], path.name


def test_text_of_others_is_shown_and_not_obeyed(project: Project, tiny: str, results: Results) -> None:
    plan = project.plan(tiny)
    job = plan.jobs[0]
    results.store.folder(job.key).fail({"type": "E", "message": "[/x] \x1b[2J", "traceback": "a\r\x1b]0;t\x07b\nc"})
    results.store.folder(job.key).file("log.txt").write_text("epoch 1\x1b[1A\r\nepoch 2\n", encoding="utf-8")
    for arguments in (["status", "tiny"], ["plan", "tiny"], ["show", job.id, "--suite", "tiny"], ["table", "tiny"]):
        text = run(*arguments).output
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
        assert r"[/x] \x1b[2J" in text.replace("\\\\x1b", "\\x1b")
    text = run("show", job.id, "--suite", "tiny").output
    assert "epoch 1\\x1b[1A\nepoch 2" in text  # a log stays in lines


def test_errors_are_text_too(project: Project) -> None:
    result = run("check", "no\x1b[2Jsuch")
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert r"\x1b[2J" in result.output


def test_what_a_plug_in_prints_is_no_part_of_json(project: Project, tiny: str, site: Site) -> None:
    site.module("noisy", "print('hello from a plug-in')\nfrom bench_models.specs import SOFTMAX as SPEC\n")
    project.suite(tiny.replace('family   = "softmax"', 'family   = "noisy:SPEC"', 1))
    result = run("plan", "tiny", "--json")
    assert json.loads(result.stdout)["suite"] == "tiny"
    assert "hello from a plug-in" in result.stderr


@pytest.mark.parametrize("format_", ["json", "csv", None])
def test_nor_of_a_table(project: Project, tiny: str, site: Site, format_: str | None) -> None:
    site.module("noisy", "print('hello from a plug-in')\nfrom bench_models.specs import SOFTMAX as SPEC\n")
    project.suite(tiny.replace('family   = "softmax"', 'family   = "noisy:SPEC"', 1))
    arguments = ["table", "tiny", *(["--format", format_] if format_ else [])]
    result = run(*arguments)
    assert result.stdout.startswith({"json": "{", "csv": "suite,", None: "**"}[format_])
    assert "hello from a plug-in" in result.stderr


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}, {}])
@pytest.mark.parametrize("format_", ["markdown", "html", "json"])
def test_every_encoding_gets_a_table(project: Project, tiny: str, environment: dict[str, str], format_: str) -> None:
    project.suite(tiny.replace('title   = "Accuracy"', 'title   = "Genauigkeit ↑ für 中文"'))
    done = subprocess.run(
        [*COMMAND, "table", "tiny", "--format", format_],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"softmax" in done.stdout
    if environment.get("PYTHONIOENCODING"):
        assert done.stdout.isascii()


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "| true", "2>&1 | head -c 1"])
def test_closed_streams_are_no_fault(project: Project, tiny: str, closing: str) -> None:
    project.suite(tiny)
    script = f"{sys.executable} -m bench table tiny --format html {closing}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr
    # A command whose output nobody can get has done nothing; without the other two streams it has.
    assert done.returncode == (5 if ">&-" in closing.replace("2>&-", "") else 0)
    assert {path.name for path in project.root.iterdir()} == {"bench.toml", "suites"}
