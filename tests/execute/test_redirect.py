"""Where descriptors of the operating system lead while a job runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("closed", [False, True])
def test_raw_writes_land_in_the_log_and_streams_are_what_they_were(tmp_path: Path, closed: bool) -> None:
    """C libraries and child processes write to descriptors; the command's own output, JSON perhaps, stays clean."""
    script = f"""
import os, subprocess, sys
from pathlib import Path
from bench.execute import redirect
if {closed}:
    os.close(1)
with redirect.into(Path({str(tmp_path / "log.txt")!r})):
    print("python")
    os.write(1, b"descriptor 1\\n")
    os.write(2, b"descriptor 2\\n")
    subprocess.run(["echo", "child"])
    print("\\ud800", file=sys.stderr)
if not {closed}:
    print("after")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("" if closed else "after\n", "")
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["python", "descriptor 1", "descriptor 2", "child", r"\ud800"]


def test_standard_output_of_a_worker_is_standard_error() -> None:
    script = "import os; from bench.execute import redirect; redirect.free_stdout(); os.write(1, b'x'); print('y')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "xy\n")
