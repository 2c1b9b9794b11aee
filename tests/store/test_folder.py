from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.files.atomic import write_atomically, write_json
from bench.store import JobFolder, Record, Store
from bench.store.folder import LOCK

KEY = "ab" + "0" * 38


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def folder(store: Store) -> JobFolder:
    return store.folder(KEY)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def held_elsewhere(folder: JobFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a folder."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom bench.store import JobFolder\n"
        f"with JobFolder(Path({str(folder.path)!r})).lock() as held:\n"
        "    print(held, flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class TestWriting:
    def test_a_file_is_replaced_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b.bin"
        write_atomically(path, b"old")
        write_atomically(path, b"new content")
        assert path.read_bytes() == b"new content"
        assert names(path.parent) == ["b.bin"]
        assert path.stat().st_mode & 0o777 == 0o644

    def test_content_may_come_in_pieces(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a", (piece for piece in (b"one, ", memoryview(b"two, "), b"three")))
        assert (tmp_path / "a").read_bytes() == b"one, two, three"

    def test_an_error_between_two_pieces_leaves_the_old_content(self, tmp_path: Path) -> None:
        def pieces() -> Iterator[bytes]:
            yield b"new"
            raise ValueError("no more")

        write_atomically(tmp_path / "a", b"old")
        with pytest.raises(ValueError, match="no more"):
            write_atomically(tmp_path / "a", pieces())
        assert (tmp_path / "a").read_bytes() == b"old"
        assert names(tmp_path) == ["a"]

    @pytest.mark.parametrize("step", ["fsync", "replace", "interrupt"])
    def test_a_failure_in_the_middle_leaves_the_old_content(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        path = tmp_path / "b.bin"
        write_atomically(path, b"old")

        def fail(*_: object) -> None:
            raise KeyboardInterrupt if step == "interrupt" else OSError(28, "No space left on device")

        if step == "replace":
            monkeypatch.setattr(Path, "replace", fail)
        else:
            monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(KeyboardInterrupt if step == "interrupt" else OSError):
            write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["b.bin"]

    def test_content_reaches_the_disk_before_the_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Otherwise a power cut can leave the new name with no content."""
        done: list[str] = []
        sync, replace = os.fsync, Path.replace

        def noted_sync(descriptor: int) -> None:
            done.append("fsync")
            sync(descriptor)

        def noted_replace(source: Path, target: Path) -> Path:
            done.append("replace")
            return replace(source, target)

        monkeypatch.setattr(os, "fsync", noted_sync)
        monkeypatch.setattr(Path, "replace", noted_replace)
        write_atomically(tmp_path / "b.bin", b"x")
        assert done == ["fsync", "replace", "fsync"]

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_json_refuses_what_is_no_number(self, tmp_path: Path, value: float) -> None:
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "r.json", {"deep": [value]})
        assert not (tmp_path / "r.json").exists()


class TestState:
    def test_nothing_is_pending(self, folder: JobFolder) -> None:
        assert folder.state() == "pending"
        assert (folder.record(), folder.error(), folder.job(), folder.progress(), folder.log()) == (None,) * 4 + ("",)
        assert not folder.path.exists()  # asking creates nothing

    def test_a_lock_is_running(self, folder: JobFolder) -> None:
        with folder.lock():
            assert folder.state() == "running"
        assert folder.state() == "pending"

    def test_an_error_is_failed_until_work_begins_again(self, folder: JobFolder) -> None:
        folder.fail({"type": "E", "message": "m"})
        assert folder.state() == "failed"
        assert folder.error() == {"type": "E", "message": "m"}
        with folder.lock():
            assert folder.state() == "running"

    def test_a_record_is_done_and_ends_a_former_failure(self, folder: JobFolder) -> None:
        folder.fail({"type": "E", "message": "m"})
        folder.finish(Record(kind="train"))
        assert folder.state() == "done"
        assert folder.error() is None

    def test_diverged_is_a_result(self, folder: JobFolder) -> None:
        folder.finish(Record(kind="train", status="diverged"))
        assert folder.state() == "diverged"

    @pytest.mark.parametrize("content", ["", "{", "[1]", '{"status": "ok"'])
    def test_a_damaged_record_is_none(self, folder: JobFolder, content: str) -> None:
        folder.path.mkdir(parents=True)
        folder.file("record.json").write_text(content, encoding="utf-8")
        assert folder.record() is None
        assert folder.state() == "pending"

    @pytest.mark.parametrize("number", ["9" * 400, "-" + "9" * 400, "NaN", "Infinity", "1e999", "true", "[1]"])
    def test_progress_without_a_number_is_none(self, folder: JobFolder, number: str) -> None:
        """A whole number that no float can hold ended a run."""
        folder.path.mkdir(parents=True)
        folder.file("progress.json").write_text(f'{{"done": {number}, "total": 3, "loss": "x"}}', encoding="utf-8")
        assert folder.progress() == {"total": 3, "loss": "x"}

    def test_a_log_that_is_not_text_is_shown_anyway(self, folder: JobFolder) -> None:
        folder.path.mkdir(parents=True)
        folder.file("log.txt").write_bytes(b"ok \xff\n")
        assert folder.log().startswith("ok ")


class TestLock:
    def test_it_excludes_another_process_and_ends_with_it(self, folder: JobFolder) -> None:
        with held_elsewhere(folder) as process:
            assert folder.locked()
            with folder.lock(wait=False) as held:
                assert not held
            owner = json.loads(folder.file(LOCK).read_text(encoding="utf-8"))
            assert owner["pid"] == process.pid
            assert 0 <= time.time() - owner["since"] < 60
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not folder.locked()
            with folder.lock(wait=False) as held:
                assert held

    def test_waiting_ends_when_the_holder_does(self, folder: JobFolder) -> None:
        with held_elsewhere(folder) as process:
            threading.Timer(0.2, process.kill).start()
            with folder.lock(poll=0.02) as held:
                assert held
                assert process.poll() is not None or process.wait(1) is not None

    def test_it_excludes_a_second_holder_in_this_process(self, folder: JobFolder) -> None:
        with folder.lock() as first, folder.lock(wait=False) as second:
            assert first
            assert not second

    def test_an_error_inside_releases_it(self, folder: JobFolder) -> None:
        with pytest.raises(RuntimeError), folder.lock():
            raise RuntimeError
        assert not folder.locked()

    def test_asking_takes_nothing_away(self, folder: JobFolder) -> None:
        with folder.lock():
            before = folder.file(LOCK).read_text(encoding="utf-8")
            assert folder.locked()
            assert folder.locked()
            assert folder.file(LOCK).read_text(encoding="utf-8") == before

    def test_a_lock_on_a_removed_folder_is_taken_anew(
        self, store: Store, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`bench clean` may remove a folder after its lock file was opened and before it was locked."""
        take = JobFolder._try
        removed: list[bool] = []

        def removed_meanwhile(file: object) -> bool:
            if not removed:
                removed.append(True)
                assert store.remove(folder)
            return take(file)  # type: ignore[arg-type]

        monkeypatch.setattr(JobFolder, "_try", staticmethod(removed_meanwhile))
        with folder.lock(wait=False) as held:
            assert held
            assert folder.locked()
            with folder.lock(wait=False) as second:
                assert not second


class TestGlances:
    def test_those_who_look_take_nobody_for_a_worker(self, folder: JobFolder) -> None:
        """A glance holds the lock for a moment: neither another glance nor a worker mistakes it for work."""
        with folder.lock():
            pass
        stop = threading.Event()
        seen: list[bool] = []

        def look() -> None:
            while not stop.is_set():
                seen.append(folder.locked())

        lookers = [threading.Thread(target=look) for _ in range(2)]
        for thread in lookers:
            thread.start()
        try:
            while len(seen) < 2_000:
                time.sleep(0.01)
            assert not any(seen)
            for _ in range(200):
                with folder.lock(wait=False) as own:
                    assert own
        finally:
            stop.set()
            for thread in lookers:
                thread.join()


class TestForgettingAndRemoving:
    def test_forget_leaves_nothing_that_counts(self, folder: JobFolder) -> None:
        folder.finish(Record(kind="train"))
        folder.file("checkpoint.bin").write_bytes(b"x")
        folder.file("extra").mkdir()
        folder.file("extra").joinpath("deep").write_bytes(b"x")
        with folder.lock():
            folder.forget()
            assert names(folder.path) == [LOCK]
        assert folder.state() == "pending"

    def test_forgetting_nothing(self, folder: JobFolder) -> None:
        folder.forget()
        assert folder.state() == "pending"

    def test_remove(self, store: Store, folder: JobFolder) -> None:
        folder.finish(Record(kind="train"))
        assert store.remove(folder)
        assert not folder.path.exists()
        assert list(store.folders()) == []

    def test_remove_refuses_a_locked_folder(self, store: Store, folder: JobFolder) -> None:
        folder.finish(Record(kind="train"))
        with held_elsewhere(folder):
            assert not store.remove(folder)
        assert folder.record() == Record(kind="train", key=folder.key)


def test_folders_are_found_again(store: Store) -> None:
    assert list(store.folders()) == []
    keys = ["ab1", "ab0", "cd2"]
    for key in keys:
        store.folder(key).finish(Record(kind="train"))
    assert [folder.key for folder in store.folders()] == sorted(keys)
    (store.root / "stray.txt").write_text("x", encoding="utf-8")
    assert [folder.key for folder in store.folders()] == sorted(keys)
    assert store.folder("ab1").size() == sum(path.stat().st_size for path in store.folder("ab1").path.iterdir())


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters()))
def test_any_text_comes_back_from_a_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """The name of a file that is no UTF-8, in an error message say, has halves of surrogate pairs."""
    path = tmp_path_factory.getbasetemp() / "text.json"
    write_json(path, {"message": text, text: 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"message": text, text: 1}
