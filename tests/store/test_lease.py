"""Locks where the operating system's say nothing: every `flock` succeeds, or there is none."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.runs import announced, running_commands
from bench.store import JobFolder, Store, lease
from bench.store.folder import CLAIM, LOCK

KEY = "ab" + "0" * 38


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return Store(tmp_path / "store").folder(KEY)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS mounted with `local_lock=all`, seen from two machines: each gets every lock."""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)


def on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(lease, "machine", lambda: name)


def aged(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.usefixtures("no_locks")
class TestAcrossMachines:
    def test_a_young_heartbeat_holds(self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        on(monkeypatch, "one")
        with folder.lock():
            on(monkeypatch, "two")
            assert folder.locked()
            assert folder.state() == "running"
            assert folder.holder().startswith(f"process {os.getpid()} on ")
            before = folder.file(LOCK).read_text(encoding="utf-8")
            with folder.lock(wait=False) as second:
                assert not second
            assert folder.file(LOCK).read_text(encoding="utf-8") == before
            on(monkeypatch, "one")
        on(monkeypatch, "two")
        assert not folder.locked()  # at once: the content is gone

    def test_a_dead_holder_is_followed_when_its_lease_expires(
        self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.path.mkdir(parents=True)
        on(monkeypatch, "one")
        lease.write(folder.file(LOCK))  # and then the machine loses its power
        on(monkeypatch, "two")
        aged(folder.file(LOCK), lease.EXPIRES - 5)
        assert folder.locked()
        aged(folder.file(LOCK), lease.EXPIRES + 1)
        assert not folder.locked()
        with folder.lock(wait=False) as own:
            assert own
            assert json.loads(folder.file(LOCK).read_text(encoding="utf-8"))["machine"] == "two"

    def test_on_its_own_machine_the_lock_decides_at_once(self, folder: JobFolder) -> None:
        folder.path.mkdir(parents=True)
        lease.write(folder.file(LOCK))
        assert not folder.locked()
        with folder.lock(wait=False) as own:
            assert own

    def test_a_wrong_clock_does_not_hold_for_ever(self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.path.mkdir(parents=True)
        on(monkeypatch, "one")
        lease.write(folder.file(LOCK))
        on(monkeypatch, "two")
        aged(folder.file(LOCK), -lease.CLOCKS)
        assert folder.locked()
        aged(folder.file(LOCK), -3600)
        assert not folder.locked()

    def test_heartbeats_keep_a_lease(self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease, "BEAT", 0.02)
        with folder.lock():
            aged(folder.file(LOCK), 1000)
            deadline = time.monotonic() + 10
            while time.time() - folder.file(LOCK).stat().st_mtime > 500:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def test_whoever_lost_its_lease_takes_nothing_from_the_next(
        self, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process that stood still for longer than a lease, as jobs that Slurm suspends, and goes on."""
        monkeypatch.setattr(lease, "BEAT", 0.02)
        on(monkeypatch, "one")
        with folder.lock():
            on(monkeypatch, "two")
            lease.write(folder.file(LOCK))
            aged(folder.file(LOCK), 100)
            time.sleep(0.2)
            assert time.time() - folder.file(LOCK).stat().st_mtime > 90
        assert lease.facts(folder.file(LOCK))["machine"] == "two"

    def test_commands_on_other_machines_are_running(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        on(monkeypatch, "one")
        with announced(tmp_path, ["a", "b"]):
            on(monkeypatch, "two")
            (command,) = running_commands(tmp_path)
            assert command.keys == {"a", "b"}
            assert command.readable
            (path,) = (tmp_path / "running").iterdir()
            aged(path, lease.EXPIRES + 1)
            assert running_commands(tmp_path) == []
            assert not path.exists()


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_without_any_locks_leases_decide_on_one_machine_too(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", refuse)
    with folder.lock():
        assert folder.locked()
        with folder.lock(wait=False) as second:
            assert not second
    assert not folder.locked()
    with folder.lock(wait=False) as own:
        assert own


def test_a_claim_that_a_killed_process_left(folder: JobFolder) -> None:
    folder.path.mkdir(parents=True)
    folder.file(CLAIM).touch()
    with folder.lock(wait=False) as own:
        assert not own
    aged(folder.file(CLAIM), lease.EXPIRES + 1)
    with folder.lock(wait=False) as own:
        assert own
    assert sorted(path.name for path in folder.path.iterdir()) == [LOCK]


_WORKER = """
import sys, time
from pathlib import Path
import fcntl
fcntl.flock = lambda *_: None
from bench.store import JobFolder, lease
lease.machine = lambda: sys.argv[2]
folder, log = JobFolder(Path(sys.argv[1])), Path(sys.argv[3])
for _ in range(15):
    with folder.lock(poll=0.001) as own:
        assert own
        inside = folder.file("inside")
        with inside.open("x"):  # fails if another is inside
            time.sleep(0.002)
        inside.unlink()
        with log.open("a") as file:
            file.write(sys.argv[2] + "\\n")
"""


def test_machines_that_race_for_a_lease_hold_it_one_after_the_other(folder: JobFolder, tmp_path: Path) -> None:
    log = tmp_path / "log"
    commands = [[sys.executable, "-c", _WORKER, str(folder.path), f"m{i}", str(log)] for i in range(4)]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    assert sorted(log.read_text(encoding="utf-8").split()) == sorted(f"m{i}" for i in range(4) for _ in range(15))
