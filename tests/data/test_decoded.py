from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bench.data import decoded as module_under_test
from bench.data.decoded import decoded, decoded_folder, marks, user_cache

IMAGES = np.random.default_rng(0).integers(256, size=(5, 3, 4, 4)).astype(np.uint8)
CALLS: list[str] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    CALLS.clear()


def make() -> npt.NDArray[np.uint8]:
    CALLS.append("made")
    return IMAGES


def stored() -> list[Path]:
    return sorted(decoded_folder().glob("*.npz"))


def test_the_same_files_are_decoded_once(cache: Path) -> None:
    assert decoded_folder() == cache / "bench" / "decoded" == user_cache() / "decoded"
    for _ in range(3):
        np.testing.assert_array_equal(decoded("set", ["a"], make), IMAGES)
    assert len(CALLS) == 1


def test_other_facts_are_decoded_again_and_take_the_place_of_the_old(cache: Path) -> None:
    decoded("set", ["a"], make)
    (old,) = stored()
    decoded("other", ["a"], make)
    decoded("set", ["a", "b"], make)
    assert len(CALLS) == 3
    assert old not in stored()
    assert [path.name.partition("-")[0] for path in stored()] == ["other", "set"]


def test_what_a_kill_left_goes(cache: Path) -> None:
    decoded_folder().mkdir(parents=True)
    left, foreign = (decoded_folder() / f".{name}-0.npz.x1.tmp" for name in ("set", "other"))
    for path in (left, foreign):
        path.write_bytes(b"half")
    decoded("set", ["a"], make)
    assert not left.exists()
    assert foreign.exists()


@pytest.mark.parametrize("module", module_under_test._CODE)
def test_edited_code_decodes_again(cache: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded("set", ["a"], make)
    digest = module_under_test.source_digest
    monkeypatch.setattr(
        module_under_test, "source_digest", lambda path: digest(path) + ("'" if path.name == module else "")
    )
    decoded("set", ["a"], make)
    assert len(CALLS) == 2


def test_other_facts_are_not_those_that_read_alike(cache: Path) -> None:
    decoded("set", ["ab", "c"], make)
    decoded("set", ["a", "bc"], make)
    assert len(CALLS) == 2


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_damaged_file_is_never_shown(cache: Path, share: float) -> None:
    decoded("set", ["a"], make)
    (path,) = stored()
    whole = path.read_bytes()
    place = int(share * (len(whole) - 1))
    for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(decoded("set", ["a"], make), IMAGES)
    np.testing.assert_array_equal(decoded("set", ["a"], lambda: pytest.fail("not stored again")), IMAGES)


def test_an_intact_file_with_other_pixels_is_refused(cache: Path) -> None:
    decoded("set", ["a"], make)
    (path,) = stored()
    with np.load(path) as arrays:
        digest = arrays["sha256"]
    np.savez(path, images=IMAGES[::-1], sha256=digest)
    np.testing.assert_array_equal(decoded("set", ["a"], make), IMAGES)
    np.savez(path, images=IMAGES)
    np.testing.assert_array_equal(decoded("set", ["a"], make), IMAGES)
    assert len(CALLS) == 3


def test_a_cache_that_cannot_be_written_is_no_error(cache: Path) -> None:
    (cache / "bench").write_text("a file where the folder should be")
    for _ in range(2):
        np.testing.assert_array_equal(decoded("set", ["a"], make), IMAGES)
    assert len(CALLS) == 2


def test_what_cannot_be_decoded_leaves_nothing(cache: Path) -> None:
    def fail() -> npt.NDArray[np.uint8]:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        decoded("set", ["a"], fail)
    assert stored() == []
    np.testing.assert_array_equal(decoded("set", ["a"], make), IMAGES)


PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from bench.data.decoded import decoded

def make():
    with open(sys.argv[1], "a") as file:
        file.write("made\\n")
    time.sleep(0.5)
    return np.full((2, 3, 4, 4), 7, np.uint8)

assert (decoded("set", ["a"], make) == 7).all()
"""


def test_of_two_processes_one_decodes(cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = [subprocess.Popen([sys.executable, "-c", PROCESS, str(log)], env=dict(os.environ)) for _ in range(3)]
    assert [one.wait(60) for one in running] == [0, 0, 0]
    assert log.read_text() == "made\n"
    assert len(stored()) == 1


def test_marks_change_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    (first,) = marks([path])
    assert list(marks([path])) == [first]
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 0))
    (second,) = marks([path])
    path.unlink()
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 0))
    (third,) = marks([path])
    assert len({first, second, third}) == 3
    with pytest.raises(FileNotFoundError):
        list(marks([tmp_path / "absent"]))
