"""Files with a published checksum: the bytes that were hashed, or one error."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

import pytest

from bench.errors import DamagedFileError
from bench.files.checksums import Checksum, read_measured

CONTENT = bytes(range(256)) * 4
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "file"


def test_the_content_is_what_was_hashed(path: Path) -> None:
    assert Checksum(path, SHA256).read() == CONTENT
    assert Checksum(path, SHA256[:8]).read() == CONTENT
    assert Checksum(path, MD5, "md5").read() == CONTENT
    path.write_bytes(gzip.compress(CONTENT))
    assert Checksum(path, SHA256, packed=True).read() == CONTENT


def test_another_content_is_told_with_both_checksums(path: Path) -> None:
    path.write_bytes(CONTENT[::-1])
    found = hashlib.sha256(CONTENT[::-1]).hexdigest()
    with pytest.raises(DamagedFileError, match=f"{path} has SHA-256 {found}, expected {SHA256}$"):
        Checksum(path, SHA256).read()
    with pytest.raises(DamagedFileError, match=f"expected to begin with {SHA256[:8]}$"):
        Checksum(path, SHA256[:8]).read()
    with pytest.raises(DamagedFileError, match=f"has MD5 .*, expected {MD5}$"):
        Checksum(path, MD5, "md5").read()


def test_every_damaged_byte_and_length_of_a_packed_file_is_told_or_harmless(path: Path) -> None:
    whole = gzip.compress(CONTENT, mtime=0)
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]):
            path.write_bytes(damaged)
            try:
                found = Checksum(path, SHA256, packed=True).read()
            except DamagedFileError as error:
                found = CONTENT if str(error).startswith(f"{path} ") else b""
            assert found == CONTENT  # told, or a time or a flag in the header


def test_a_packed_file_is_unpacked_up_to_the_limit_alone(path: Path) -> None:
    path.write_bytes(gzip.compress(b"\0" * 2**24))
    assert path.stat().st_size < 2**15
    with pytest.raises(DamagedFileError, match=r"holds more than 65,536 bytes when unpacked, the limit"):
        Checksum(path, SHA256, packed=True, limit=2**16).read()


def test_what_is_no_file_of_that_size_is_not_read(path: Path, tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"has 1,024 bytes; the limit is 1,023"):
        read_measured(path, 1023)
    assert read_measured(path, 1024) == CONTENT
    with pytest.raises(DamagedFileError, match="is missing"):
        read_measured(tmp_path / "absent", 1024)
    with pytest.raises(DamagedFileError, match="is not a regular file"):
        read_measured(tmp_path, 1024)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedFileError, match="is not a regular file"):
        read_measured(tmp_path / "pipe", 1024)
    with pytest.raises(DamagedFileError, match="is not a regular file"):
        read_measured(Path("/dev/zero"), 1024)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DamagedFileError, match="cannot be read: Too many levels"):
        read_measured(tmp_path / "loop", 1024)
    with pytest.raises(DamagedFileError, match="cannot be read: File name too long"):
        read_measured(tmp_path / ("x" * 300), 1024)
