"""Foreign torch and safetensors files: parity with torch, and damage in every byte."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.errors import BenchError, DamagedFileError, RequestError
from bench.files.tensors import load_shapes, load_tensors, save_tensors
from bench.weights.torch_files import Stub, read_inert

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def same(ours: Any, theirs: Any) -> bool:
    """Equal content: types of containers may be plainer, tensors have equal bits, shapes and types."""
    if isinstance(theirs, Tensor):
        alike = isinstance(ours, Tensor) and ours.dtype == theirs.dtype and ours.shape == theirs.shape
        return alike and ours.stride() == theirs.stride() and torch.equal(ours.nan_to_num(), theirs.nan_to_num())
    if isinstance(theirs, dict):
        return list(ours) == list(theirs) and all(same(ours[key], value) for key, value in theirs.items())
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and bool(ours == theirs)


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_content_is_what_torch_reads(tmp_path: Path, zipped: bool, protocol: int) -> None:
    base = torch.arange(24.0)
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)
    content = {
        "state_dict": OrderedDict((f"layer.{i}", torch.randn(i, 3)) for i in range(4)),
        "kinds": [torch.arange(5).to(kind) for kind in (*kinds, torch.uint8, torch.bool, torch.complex64)],
        "views": (base[3:9].view(2, 3).T, base[::2], base[5], base[20:20], torch.ones(1).expand(4, 4)),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)).detach(),
        "numbers": [0, 1, -1, 255, 256, 65536, -(2**31), 2**40, 2**70, 0.1, float("inf"), True, False, None],
        "texts": ["", "plain", "ünï", "x" * 300, b"", b"bytes \xff", "line\nbreak"],
        "nested": [[[], ()], {"a": {"b": (1, (2, (3, 4, 5, 6)))}}],
        "size": torch.Size([2, 3]),
        3: "a number as a key",
        (1, "pair"): "a pair as a key",
        "optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
    }
    path = tmp_path / "a.pt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    read, stubbed = read_inert(path)
    assert stubbed == ()
    expected = torch.load(path, weights_only=False)  # it is ours
    assert same(read, {**expected, "size": tuple(expected["size"])})


@FORMATS
def test_shared_storages_stay_shared_and_nothing_else_is(tmp_path: Path, zipped: bool) -> None:
    base, other = torch.zeros(6), torch.zeros(6)
    torch.save([base[:3], base[3:], other], tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    (first, second, third), _ = read_inert(tmp_path / "a.pt")
    first.untyped_storage().fill_(1)
    assert second.ne(0).all()
    assert third.eq(0).all()


def test_other_containers_are_plain_ones(tmp_path: Path) -> None:
    content = [defaultdict(int, a=1), {1, 2}, frozenset({3}), bytearray(b"xy")]
    torch.save(content, tmp_path / "a.pt", pickle_protocol=5)
    read, stubbed = read_inert(tmp_path / "a.pt")
    assert read == [{"a": 1}, [1, 2], [3], bytearray(b"xy")]
    assert stubbed == ()


def test_a_whole_module_gives_its_tensors(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    torch.save(module, tmp_path / "a.pt")
    read, stubbed = read_inert(tmp_path / "a.pt")
    assert isinstance(read, Stub)
    assert torch.equal(vars(read)["_parameters"]["weight"], module.weight)
    assert "torch.nn.modules.linear.Linear" in stubbed


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
def test_a_torchscript_archive_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(tmp_path / "a.pt"))
    with pytest.raises(RequestError, match="it is a TorchScript archive"):
        read_inert(tmp_path / "a.pt")


def test_what_is_no_file(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.pt", "no such file"),
        (tmp_path, "is not a file"),
        (Path("/dev/zero"), "is not a file"),
    ):
        with pytest.raises(RequestError, match=message):
            read_inert(path)
    with pytest.raises(DamagedFileError, match="cannot be read: File name too long"):
        read_inert(tmp_path / ("x" * 300))


def written(folder: Path, kind: str) -> Path:
    """A small valid file."""
    content = OrderedDict(weight=torch.arange(3.0), flag=torch.tensor([True]))
    path = folder / f"{kind}{'.safetensors' if kind == 'safetensors' else '.pt'}"
    if kind == "safetensors":
        save_tensors(path, content)
    else:
        torch.save({"model": content, "epoch": 3}, path, _use_new_zipfile_serialization=kind == "zip")
    return path


def read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        tensors = load_tensors(path)[0]
        assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == load_shapes(path)
        return tensors
    return read_inert(path)[0]


def content_or_none(path: Path) -> Any:
    """What is read, or None where the reader says, for people, that it cannot be."""
    try:
        return read(path)
    except BenchError as error:
        said = error
    assert said.exit_code in (2, 5)
    assert str(path) in str(said)
    assert len(str(said)) < 1000
    return None


def outcomes(path: Path, flips: tuple[int, ...], every: int = 1) -> Iterator[tuple[str, Any]]:
    """What becomes of the file with each byte changed, and cut before each byte (or every so many)."""
    whole = path.read_bytes()
    damaged = path.with_stem("damaged")
    for place in range(len(whole)):
        variants = [("flip", whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :]) for flip in flips]
        for how, content in [*variants, *([("cut", whole[:place])] if place % every == 0 else [])]:
            damaged.write_bytes(content)
            yield how, content_or_none(damaged)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_every_byte(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    expected = read(path)
    found = list(outcomes(path, (0xFF,), every=5))
    assert len(found) > path.stat().st_size
    # A file that ends too early is never taken for whole.
    assert all(content is None for how, content in found if how == "cut")
    loaded = [content for _, content in found if content is not None]
    if kind == "zip":  # an archive has checksums: what is read is what was written
        assert all(same(content, expected) for content in loaded)
    assert 0 < len(loaded) < len(found)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_every_byte_in_every_bit(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    expected = read(path)
    found = list(outcomes(path, tuple(1 << bit for bit in range(8))))
    assert all(content is None for how, content in found if how == "cut")
    loaded = [content for _, content in found if content is not None]
    assert loaded
    if kind == "zip":
        assert all(same(content, expected) for content in loaded)
