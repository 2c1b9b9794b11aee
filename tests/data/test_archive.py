"""A user's archive, damaged in any byte: one error that names it, or what was stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.data.user import load, spec_for_path


def archive(path: Path, *, packed: bool) -> Path:
    y = np.arange(6) % 2
    x = np.random.default_rng(0).integers(256, size=(6, 3, 3)).astype(np.uint8)
    (np.savez_compressed if packed else np.savez)(path, x=x, y=y)  # type: ignore[operator]
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("flip", [0xFF, pytest.param(0x01, marks=pytest.mark.slow)])
def test_every_damaged_byte_is_one_error_or_harmless(tmp_path: Path, packed: bool, flip: int) -> None:
    path = archive(tmp_path / "own.npz", packed=packed)
    whole, good = path.read_bytes(), load(path)["all"]
    told = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
        try:
            spec_for_path(path)
            found = load(path)["all"]
        except ValueError as error:
            told += 1
            message = str(error)
        else:
            # A time, say; a byte that changes a value changes a checksum of the archive.
            message = str(path)
            np.testing.assert_array_equal(found.images, good.images)
            np.testing.assert_array_equal(found.labels, good.labels)
        assert message.startswith(str(path))
        assert "\n" not in message
    assert told > len(whole) / 2


def test_every_length_is_one_error(tmp_path: Path) -> None:
    path = archive(tmp_path / "own.npz", packed=True)
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"own\.npz: not a readable \.npz archive of plain arrays"):
            spec_for_path(path)
