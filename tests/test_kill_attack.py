"""An attack that is killed again and again ends with the numbers that it would have had, and does not begin anew."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.api import Bench
from bench.store import JOURNAL, JobFolder

KILLS = 8

# Counts the images that go through the network, in whatever process.
COUNTED = """\
import os
from pathlib import Path

from bench_models.softmax import Softmax
from bench.spec import FamilySpec, TrainingConfig

FILE = Path(__file__).parent / "passes.txt"


class Counted(Softmax):
    def build(self, backbone, num_classes, image_shape):
        model = super().build(backbone, num_classes, image_shape)
        features = model.features

        def counted(images):
            descriptor = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(descriptor, f"{len(images)}\\n".encode())
            os.close(descriptor)
            return features(images)

        model.features = counted
        return model


SPEC = FamilySpec(
    name="counted", label="counted", summary="Counts.", source="a test",
    config=TrainingConfig, implementation="counted:Counted",
)
"""
SUITE = """\
[suite]
name = "attacked"
[data]
dataset = "digits"
[[model]]
family   = "counted:SPEC"
backbone = "wrn-10-1"
epochs   = 5
lr       = 4e-3
warmup   = 0
[[evaluation]]
kind       = "pgd"
eps        = ["8/255"]
steps      = 40
losses     = ["ce", "margin"]
restarts   = 2
batch_size = 16
noise      = 0
adversarials = true
"""
PROFILE = '[profile]\nname = "few"\n[caps]\ntrain = 640\nvalidation = 20\nitems = 192\n'


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BENCH_CHECKPOINT_SECONDS", "0")


class Attacked:
    """A folder in which ``bench run`` trains a model for some seconds and attacks it, as a person would, on the CPU."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        if not root.exists():
            (root / "suites").mkdir(parents=True)
            (root / "bench.toml").write_text('[paths]\nresults = "results"\n')
            (root / "suites" / "attacked.toml").write_text(SUITE)
            (root / "few.toml").write_text(PROFILE)
            (root / "counted.py").write_text(COUNTED)
        self.root, self.output = root, ""
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH", "")])))
        monkeypatch.syspath_prepend(str(root))
        here = Bench.here(root)
        plan = here.plan(root / "suites" / "attacked.toml", profile=str(root / "few.toml"))
        (attack,) = [job for job in plan.jobs if job.kind == "evaluate"]
        self.folder: JobFolder = here.store.folder(attack.key)

    def start(self, command: str) -> subprocess.Popen[str]:
        arguments = ["attacked", "--profile", "few.toml", "--device", "cpu", "--workers", "1"]
        return subprocess.Popen(
            [sys.executable, "-m", "bench", command, *arguments],
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> int:
        self.output, _ = process.communicate(timeout=300)
        return process.returncode

    def wait_for(self, process: subprocess.Popen[str], condition: Callable[[], bool]) -> bool:
        """Whether it came true before the process ended."""
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.005)
        return False

    def passes(self) -> int:
        """Images that went through the network since the last call."""
        path = self.root / "passes.txt"
        text = path.read_text() if path.exists() else ""
        path.unlink(missing_ok=True)
        return sum(map(int, text.split()))

    def working(self) -> bool:
        """A worker is at the attack: it holds the lock, and images have gone through the network."""
        return self.folder.state() == "running" and (self.root / "passes.txt").exists()

    def worker(self) -> int:
        return int(json.loads((self.folder.path / "lock").read_text())["pid"])

    def pieces(self) -> set[str]:
        """Names of what the journal holds."""
        return {path.name for path in (self.folder.path / JOURNAL).glob("*.npz")}

    def result(self) -> tuple[dict[str, Any], bytes, bytes]:
        """What the record says of the attack, its items and its adversarial images."""
        record = self.folder.record_json()
        assert record is not None, self.output
        assert record["status"] == "ok"
        said = {key: record[key] for key in ("numbers", "details", "weights", "read", "config")}
        return said, self.folder.file("items.npz").read_bytes(), self.folder.file("adversarials.npz").read_bytes()


@contextlib.contextmanager
def running(attacked: Attacked, command: str = "run") -> Iterator[subprocess.Popen[str]]:
    """A run that does not outlive the test."""
    with attacked.start(command) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def uninterrupted(attacked: Attacked, command: str = "run") -> None:
    with running(attacked, command) as process:
        assert attacked.end(process) == 0, attacked.output


@pytest.mark.slow
def test_sigkill_at_random_instants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the worker and of the whole run, by turns, until ``KILLS`` have hit; then to the end."""
    undisturbed = Attacked(tmp_path / "undisturbed", monkeypatch)
    uninterrupted(undisturbed, "train")
    killed = Attacked(Path(shutil.copytree(undisturbed.root, tmp_path / "killed")), monkeypatch)
    undisturbed.passes(), killed.passes()
    began = time.monotonic()
    uninterrupted(undisturbed)
    whole = undisturbed.passes()
    attack_seconds = undisturbed.folder.record_json()["seconds"]  # type: ignore[index]
    expected = undisturbed.result()
    print(f"undisturbed: {time.monotonic() - began:.1f} s, of them {attack_seconds} at the attack; {whole} passes")

    chance = random.Random(0)
    lives: list[int] = []
    held: list[int] = []
    for kill in range(KILLS):
        before = killed.pieces()
        with running(killed) as process:
            assert killed.wait_for(process, killed.working), f"ended after {kill} kills: {killed.output}"
            time.sleep(chance.uniform(0, 1.5 * attack_seconds / KILLS))
            if killed.folder.record() is not None:
                break
            if kill % 2:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(killed.worker(), signal.SIGKILL)
                assert killed.end(process) == 1, killed.output
                assert "ended by signal 9" in killed.output
        assert killed.folder.record() is None
        assert killed.pieces() >= before, "what a kill left is not lost to the next"
        lives.append(killed.passes())
        held.append(len(killed.pieces()))
    assert len(lives) >= 3
    assert held[-1] > held[0]  # it got somewhere between the kills
    uninterrupted(killed)
    lives.append(killed.passes())
    print(f"{len(lives) - 1} kills, pieces after each {held}, passes of each life {lives}: {sum(lives)} of {whole}")

    assert killed.result() == expected
    assert not (killed.folder.path / JOURNAL).exists()
    assert not (undisturbed.folder.path / JOURNAL).exists()
    # A life repeats the clean passes, the judge's, and the piece that it died in: less than a fifth of the attack.
    assert sum(lives) < whole * (1 + 0.2 * len(lives))
