"""Archives of arrays: what was written is read; what is damaged in any byte is one error."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.errors import DamagedFileError
from bench.files.arrays import load_arrays, save_arrays


@pytest.fixture
def content() -> dict[str, NDArray[np.generic]]:
    return {"ids": np.arange(40), "right": np.arange(40) % 3 == 0, "p": np.linspace(0, 1, 12, dtype="f4").reshape(3, 4)}


def test_what_was_written_is_read(tmp_path: Path, content: dict[str, NDArray[np.generic]]) -> None:
    sha256 = save_arrays(tmp_path / "a.npz", content)
    found = load_arrays(tmp_path / "a.npz", sha256=sha256)
    assert found.keys() == content.keys()
    for name, array in content.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_some_arrays_are_read_without_the_others(tmp_path: Path, content: dict[str, NDArray[np.generic]]) -> None:
    save_arrays(tmp_path / "a.npz", content)
    found = load_arrays(tmp_path / "a.npz", names=("p", "absent"), limit=content["p"].nbytes)
    assert list(found) == ["p"]
    np.testing.assert_array_equal(found["p"], content["p"])


@pytest.mark.parametrize(
    "array",
    [
        np.float64(3.0) * np.ones(()),
        np.zeros((0, 3)),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.array(["ab", ""]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.zeros(3, dtype=[("x", "i4"), ("y", ">f8")]),
    ],
)
def test_arrays_are_what_numpy_reads(tmp_path: Path, array: NDArray[np.generic]) -> None:
    np.savez(tmp_path / "a.npz", array=array)
    found = load_arrays(tmp_path / "a.npz")["array"]
    with np.load(tmp_path / "a.npz") as whole:
        expected = whole["array"]
    assert (found.dtype, found.shape, found.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())
    assert found.flags.writeable
    assert found.flags.f_contiguous == expected.flags.f_contiguous


def test_a_header_of_megabytes_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x02\x00" + (2**24).to_bytes(4, "little") + b" " * 2**24)
    with pytest.raises(DamagedFileError, match="a header of 16777216 bytes"):
        load_arrays(tmp_path / "a.npz")


def test_every_damaged_byte_is_told_or_harmless(tmp_path: Path, content: dict[str, NDArray[np.generic]]) -> None:
    path = tmp_path / "a.npz"
    sha256 = save_arrays(path, content)
    whole = path.read_bytes()
    told = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(DamagedFileError, match="another SHA-256"):
            load_arrays(path, sha256=sha256)
        try:
            found = load_arrays(path)
        except DamagedFileError:
            told += 1
        else:
            # Bytes that no reader looks at, such as times, or names in the archive's directory; never other values.
            assert all(np.array_equal(array, content[name]) for name, array in found.items() if name in content)
    assert told > 0.7 * len(whole)


@pytest.mark.parametrize("length", [0, 1, 30, 200])
def test_cut_short(tmp_path: Path, content: dict[str, NDArray[np.generic]], length: int) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, content)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedFileError, match=r"a\.npz is not a readable \.npz archive"):
        load_arrays(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"a\.npz is missing"):
        load_arrays(tmp_path / "a.npz")


def test_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", bad=np.array([{}], dtype=object))
    with pytest.raises(DamagedFileError, match="Python objects"):
        load_arrays(tmp_path / "a.npz")


def test_an_archive_is_measured_before_it_is_expanded(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", zeros=np.zeros(2**22, np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(DamagedFileError, match=r"asks for 0\.0 GiB of memory; the limit is 0\.0 GiB"):
        load_arrays(tmp_path / "a.npz", limit=2**21)


@pytest.mark.parametrize("shape", ["(8796093022208,)", "(-1,)", "(1099511627776, 1099511627776)"])
def test_a_header_that_lies_allocates_nothing(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    text = header.encode().ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 8
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("x.npy", member)
    (tmp_path / "a.npz").write_bytes(content.getvalue())
    with pytest.raises(DamagedFileError, match="is not a readable"):
        load_arrays(tmp_path / "a.npz")
