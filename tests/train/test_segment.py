"""Files of rows are safetensors files, and a file that is not a whole one is told from one that is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.train.segment import Bytes, DamagedError, Segment, segment_content

DIGEST = 3
ROWS: Bytes = np.arange(20, dtype=np.uint8).reshape(4, 5)
KEYS = [b"abc", b"def", b"ghi", b"jkl"]


def content(rows: Bytes = ROWS, keys: list[bytes] = KEYS) -> bytes:
    return b"".join(segment_content(keys, [rows[:1], rows[1:]], rows.shape[1]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows-0-5.safetensors"
    path.write_bytes(content())
    return path


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 70))
def test_safetensors_reads_it(count: int, width: int) -> None:
    rows = np.random.default_rng(count).integers(0, 256, (count, width), np.uint8)
    keys = [bytes([row, 0, 255]) for row in range(count)]
    found = safetensors.numpy.load(content(rows, keys))
    assert set(found) == {"digests", "rows"}
    assert np.array_equal(found["rows"], rows)
    assert found["digests"].tobytes() == b"".join(keys)
    assert found["digests"].shape == (count, DIGEST)


def test_rows_are_read_by_their_place(path: Path) -> None:
    segment = Segment(path, DIGEST)
    assert (segment.name, segment.width, segment.digests, len(segment)) == (path.name, 5, KEYS, 4)
    row = np.zeros(5, np.uint8)
    for place in (2, 0, 3, 1):
        assert segment.read_into(row, place)
        assert np.array_equal(row, ROWS[place])
    assert not segment.read_into(row, 4)
    assert not segment.read_into(np.zeros(4, np.uint8), 0)
    segment.close()
    with pytest.raises(ValueError, match="closed"):
        segment.read_into(row, 0)


def headed(change: Callable[[dict[str, dict[str, object]]], object]) -> bytes:
    whole = content()
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + whole[8 + length :]


DAMAGED = {
    "empty": b"",
    "truncated": content()[:-1],
    "longer": content() + b"x",
    "no header": content()[:20],
    "a long header": (2**62).to_bytes(8, "little") + content()[8:],
    "no JSON": content().replace(b'{"digests"', b'["digests"', 1),
    "no rows": headed(lambda header: header.pop("rows")),
    "a list": (2).to_bytes(8, "little") + b"[]",
    "a word for a number": headed(lambda header: header["rows"].update(shape=["4", 5])),
    "negative": headed(lambda header: header["digests"].update(shape=[-4, 3])),
    "floats": headed(lambda header: header["rows"].update(dtype="F32")),
    "other digests": content(keys=[b"ab", b"de", b"gh", b"jk"]),
    "foreign": safetensors.numpy.save({"rows": ROWS, "digests": ROWS, "more": ROWS}),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_is_no_whole_segment_is_refused(path: Path, damage: str) -> None:
    path.write_bytes(DAMAGED[damage])
    with pytest.raises(DamagedError, match=path.name) as caught:
        Segment(path, DIGEST)
    assert caught.value.names == [path.name]


def test_a_missing_one_is_damaged_too(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="damaged: absent"):
        Segment(tmp_path / "absent", DIGEST)
