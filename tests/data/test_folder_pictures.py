"""One picture: measured before it is decoded; whatever is wrong with its bytes is one error that names the file."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from bench.data.content import PIXELS
from bench.data.folder import FORMATS, decode

RNG = np.random.default_rng(0)
GREY = RNG.integers(256, size=(6, 5)).astype(np.uint8)
COLOUR = RNG.integers(256, size=(6, 5, 3)).astype(np.uint8)


def encoded(array: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *, rows: int = 1, extra: bytes = b"") -> bytes:
    """A grey PNG whose header says what it likes, with so many rows of zeros."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * (rows * (width + 1)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_pixels_are_those_of_the_picture() -> None:
    np.testing.assert_array_equal(decode(encoded(GREY), "a.png"), GREY[None])
    np.testing.assert_array_equal(decode(encoded(COLOUR), "a.png", (6, 5)), COLOUR.transpose(2, 0, 1))
    with Image.open(io.BytesIO(encoded(COLOUR, "JPEG"))) as image:
        expected = np.asarray(image).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(encoded(COLOUR, "JPEG"), "a.jpg"), expected)
    assert decode(encoded(GREY > 99), "a.png").tolist() == [(255 * (GREY > 99)).tolist()]
    assert decode(png(5, 6, rows=6), "a.png").tolist() == np.zeros((1, 6, 5)).tolist()


@pytest.mark.parametrize(
    "size", [(13_000, 13_000), (4_097, 4_096), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1), (60_000, 60_000)]
)
def test_a_large_picture_is_told_from_its_header(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """It used to be decoded, and its size compared afterwards: 13,000 squared takes half a gigabyte."""

    def never(*_: object, **__: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr(Image.Image, "load", never)
    monkeypatch.setattr(Image.Image, "convert", never)
    with pytest.raises(ValueError, match=r"^a\.png: has .*16,777,216 pixels"):
        decode(png(*size, rows=0), "a.png")
    assert PIXELS == 16_777_216


def test_another_size_is_told_from_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"^a\.png: has 6x5 pixels \(height x width\), expected 5x6$"):
        decode(encoded(GREY), "a.png", (5, 6))


def test_packed_text_does_not_expand() -> None:
    bomb = zlib.compress(b"\0" * 2**26, 9)
    for name in (b"zTXt", b"iCCP"):
        data = b"key\0\0" + bomb
        with pytest.raises(ValueError, match=r"^a\.png: cannot be read as an image: .*[Tt]oo large"):
            decode(png(5, 6, rows=6, extra=chunk(name, data)), "a.png")
    assert PngImagePlugin.MAX_TEXT_CHUNK <= 2**20


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "EPS"])
def test_other_kinds_are_not_tried_whatever_the_file_is_called(kind: str) -> None:
    with pytest.raises(ValueError, match=r"^a\.png: cannot be read as an image: it is neither PNG nor JPEG$"):
        decode(encoded(COLOUR, kind), "a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither PNG nor JPEG"),
        (b"text", "neither PNG nor JPEG"),
        (encoded(np.dstack([COLOUR, GREY])), "mode RGBA; expected 8-bit grey"),
        (encoded(GREY.astype(np.uint16) * 255), "pixels of mode I;16"),
        (png(5, 6, rows=6)[:-30], "cannot be read as an image"),
        (png(0, 6), "cannot be read as an image"),
    ],
)
def test_mistakes_are_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^a\.png: .*{message}"):
        decode(content, "a.png")


def mutations(content: bytes, step: int = 1) -> list[bytes]:
    """Every byte changed in three ways, and every length."""
    found = []
    for place in range(0, len(content), step):
        values = (content[place] ^ 0xFF, content[place] ^ 1, 0)
        found += [content[:place], *(content[:place] + bytes([value]) + content[place + 1 :] for value in values)]
    return found


@pytest.mark.parametrize(
    "content",
    [encoded(GREY), encoded(COLOUR), encoded(COLOUR, "JPEG"), encoded(GREY, "JPEG", progressive=True)],
    ids=["grey png", "colour png", "jpeg", "progressive jpeg"],
)
def test_every_damaged_byte_is_one_error_or_a_picture_of_that_size(content: bytes) -> None:
    told = 0
    for damaged in mutations(content):
        try:
            image = decode(damaged, "a.png", (6, 5))
        except ValueError as error:
            told += 1
            message = str(error)
        else:
            message = "a.png: "
            assert image.shape in {(1, 6, 5), (3, 6, 5)}
            assert image.dtype == np.uint8
        assert message.startswith("a.png: ")
        assert "\n" not in message
        assert "BytesIO" not in message
    assert told > len(content) / 2


def test_whatever_a_decoder_raises_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (MemoryError(), struct.error("short"), KeyError("key"), SyntaxError("broken"), RecursionError("deep")):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(Image.Image, "convert", fail)
        with pytest.raises(ValueError, match=r"^a\.png: cannot be read as an image: \S"):
            decode(encoded(GREY), "a.png")
    assert FORMATS == ("PNG", "JPEG")
