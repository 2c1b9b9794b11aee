"""Torch files that mean harm: calls that nobody makes, and sizes that the file does not explain."""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.errors import RequestError
from bench.weights import unpickle as unpickling
from bench.weights.torch_files import Stub, read_inert
from tests.weights.conftest import FORMATS, HEAD, forget_heads


class Reduced:
    """Pickles as a call of ``function`` with ``arguments``."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@FORMATS
@pytest.mark.parametrize("how", ["system", "remove", "eval", "exec", "getattr", "import", "popen", "nested", "exit"])
def test_no_call_of_a_file_is_made(tmp_path: Path, how: str, zipped: bool) -> None:
    marker, victim = tmp_path / "marker", tmp_path / "victim"
    victim.write_text("still here")
    code = f"open({str(marker)!r}, 'w')"
    import subprocess

    harm = {
        "system": Reduced(os.system, f"touch {marker}"),
        "remove": Reduced(os.remove, str(victim)),
        "eval": Reduced(eval, code),
        "exec": Reduced(exec, code),
        "getattr": Reduced(getattr, "text", "upper"),
        "import": Reduced(importlib.import_module, "antigravity"),
        "popen": Reduced(subprocess.Popen, ["touch", str(marker)]),
        "nested": Reduced(map, Reduced(eval, "print"), [code]),
        "exit": Reduced(sys.exit, 3),
    }[how]
    path = tmp_path / "a.pt"
    torch.save({"x": torch.arange(3), "harm": [harm]}, path, _use_new_zipfile_serialization=zipped)
    content, stubbed = read_inert(path)
    assert content["x"].tolist() == [0, 1, 2]
    assert isinstance(content["harm"][0], Stub)
    assert len(stubbed) == (2 if how == "nested" else 1)
    assert not marker.exists()
    assert victim.exists()
    assert "antigravity" not in sys.modules


@FORMATS
def test_tensors_of_all_kinds_survive_the_rewriting_of_a_file(tmp_path: Path, zipped: bool) -> None:
    """A file with a refused name is rewritten before torch sees it: what is in it must be what was."""
    shared = torch.arange(12.0)
    content: dict[str, Any] = {
        "system": Reduced(os.system, "true"),
        "view": shared[2:8].view(2, 3).T,
        "again": shared,
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "module": "module",
        "empty": (),
        "nested": ({"a": [1, 2.5, None, True]}, b"bytes"),
        "integer": torch.tensor(2**40),
    }
    path = tmp_path / "a.pt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    read, stubbed = read_inert(path)
    assert stubbed == (f"{os.system.__module__}.system",)
    assert torch.equal(read["view"], content["view"])
    assert read["view"].untyped_storage().data_ptr() == read["again"].untyped_storage().data_ptr()
    assert read["half"].dtype == torch.bfloat16
    assert read["half"].item() == 1.5
    assert {key: read[key] for key in ("module", "empty", "nested")} == {
        key: content[key] for key in ("module", "empty", "nested")
    }
    assert read["integer"].item() == 2**40


def test_a_legacy_file_with_two_classes_of_modules(heads: Any, tmp_path: Path) -> None:
    """The second class of a legacy file says "module" by reference to the first."""
    (tmp_path / "authors" / "Other.py").write_text(HEAD.replace("LDALayer", "Other"))
    other = importlib.import_module("Other")
    path = tmp_path / "a.pt"
    pair = [heads.LDALayer(torch.ones(1, 2)), other.Other(torch.zeros(1, 2)), heads.LDALayer(torch.ones(1, 2) * 3)]
    torch.save(pair, path, _use_new_zipfile_serialization=False)
    forget_heads()
    del sys.modules["Other"]
    read, stubbed = read_inert(path)
    assert stubbed == ("LDALayer.LDALayer", "Other.Other")
    assert [float(item._parameters["centers"][0, 0].detach()) for item in read] == [1, 0, 3]


def test_too_many_unknown_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.weights.torch_files.MOST_STUBS", 2)
    torch.save([Reduced(f) for f in (eval, exec, map, filter)], tmp_path / "a.pt")
    with pytest.raises(RequestError, match="more than 2 unknown classes"):
        read_inert(tmp_path / "a.pt")


class Built:
    """A torch archive around a pickle of one's own."""

    def __init__(self, storages: dict[str, bytes] | None = None) -> None:
        self.storages = storages or {"0": bytes(16)}

    def storage(self, count: int, key: str = "0", kind: str = "FloatStorage") -> bytes:
        return b"((" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + number(count) + b"ttQ"

    def tensor(self, count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
        shape = b"(" + b"".join(map(number, size)) + b"t(" + b"".join(map(number, stride)) + b"t"
        # The persistent id is a tuple in one more pair of marks than needed: Q takes the tuple on top.
        place = self.storage(count).replace(b"((", b"(").replace(b"ttQ", b"tQ")
        return b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + number(offset) + shape + b"\x89NtR"

    def write(self, path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("a/data.pkl", b"\x80\x02" + pickled + b".")
            archive.writestr("a/byteorder", b"little")
            archive.writestr("a/version", b"3\n")
            for key, content in self.storages.items():
                archive.writestr(f"a/data/{key}", content)
        return path


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def bomb(path: Path) -> Path:
    """A deflated archive of kilobytes whose one storage has 2 GiB of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + Built().tensor(2**29, (2**29,), (1,)) + b".")
        with archive.open("a/data/0", "w", force_zip64=True) as target:
            for _ in range(64):
                target.write(bytes(2**20))
    return path


HOSTILE: dict[str, tuple[Any, str]] = {
    "storage beyond the file": (lambda b: b.tensor(10**9, (10**9,), (1,)), "storage 0 asks for 4,000,000,000 bytes"),
    "storage beyond its member": (lambda b: b.tensor(16, (16,), (1,)), "storage 0 has 16 bytes, its tensors say 64"),
    "shape beyond the storage": (lambda b: b.tensor(4, (10**9,), (1,)), "does not lie in its storage of 16 bytes"),
    "offset beyond the storage": (lambda b: b.tensor(4, (4,), (1,), 1), "does not lie in its storage"),
    "strides that repeat": (lambda b: b.tensor(4, (10**6, 10**6), (0, 0)), "asks for 4,000,000,000,000 bytes and its"),
    "negative strides": (lambda b: b.tensor(4, (2,), (-1,)), "no numbers, negative or too large"),
    "negative sizes": (lambda b: b.tensor(4, (-4,), (1,)), "no numbers, negative or too large"),
    "sizes beyond 64 bits": (lambda b: b.tensor(4, (2**70,), (0,)), "no numbers, negative or too large"),
    "sizes whose product overflows": (lambda b: b.tensor(4, (2**40, 2**40), (0, 0)), "the limit is"),
    "a storage of a negative size": (lambda b: b.tensor(-4, (1,), (1,)), "a storage of -4 elements"),
    "bytes of a number": (lambda _: b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R", ""),
    "a memo entry far away": (lambda _: b"]r\xff\xff\xff\x7f", ""),
    "a text of 4 GB": (lambda _: b"X\xff\xff\xff\xffabc", "expected 4294967295 bytes"),
    "a long text of 2^62": (
        lambda _: b"\x8d" + struct.pack("<Q", 2**62) + b"abc",
        "expected 4611686018427387904 bytes",
    ),
    "an array of 2^62 bytes": (lambda _: b"\x96" + struct.pack("<Q", 2**62) + b"abc", "expected 4611686018427387904"),
    "a number of 2 GB": (lambda _: b"\x8b\xff\xff\xff\x7fabc", "not enough data in stream to read long4"),
    "a number of 100,000 digits": (lambda _: b"L" + b"9" * 100_000 + b"L\n", "integer string conversion"),
    "billions of elements": (lambda _: b"(" + b"]" * 2_100_000 + b"l", "more than 2,000,000 operations"),
    "a call of torch": (lambda _: b"ctorch\nzeros\nJ\xff\xff\xff\x7f\x85R", ""),
    "a call of a storage": (lambda _: b"ctorch\nFloatStorage\nJ\xff\xff\xff\x7f\x85R", ""),
    "a huge range": (lambda _: b"c__builtin__\nlist\nc__builtin__\nrange\nJ\xff\xff\xff\x7f\x85R\x85R", ""),
}


PROBE = """
import json, resource, sys
from pathlib import Path
import torch
from bench.errors import BenchError
from bench.weights.torch_files import read_inert

def kilobytes(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

read_inert(Path(sys.argv[1]))  # all that is imported on the way
limit = kilobytes("VmSize") * 1024 + 600 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = {}
for path in sorted(Path(sys.argv[2]).iterdir()):
    try:
        read_inert(path)
        found[path.stem] = "read"
    except BenchError as error:
        found[path.stem] = str(error)
print(json.dumps({"found": found, "peak": kilobytes("VmHWM") - kilobytes("VmRSS")}))
"""


def test_nothing_is_reserved_that_the_file_does_not_explain(tmp_path: Path) -> None:
    """All of them in one process that may grow by 600 MiB, where one of the tensors alone asks for 4 TB."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name, (pickled, _) in HOSTILE.items():
        Built().write(folder / f"{name}.pt", pickled(Built()))
    bomb(folder / "a bomb.pt")
    legacy = pickle.dumps({"little_endian": True}, protocol=2)
    head = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2) + legacy
    storage = Built().tensor(10**9, (10**9,), (1,))
    (folder / "legacy.pt").write_bytes(head + b"\x80\x02" + storage + b"." + pickle.dumps(["0"], 2) + bytes(16))
    torch.save({"a": torch.zeros(2)}, tmp_path / "good.pt")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROBE), str(tmp_path / "good.pt"), str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    result = json.loads(done.stdout)
    for name, (_, message) in HOSTILE.items():
        assert message in result["found"][name] if message else result["found"][name] == "read", name
    assert "is compressed, which torch never does" in result["found"]["a bomb"]
    assert "asks for 4,000,000,000 bytes" in result["found"]["legacy"]
    assert "MemoryError" not in done.stdout
    assert result["peak"] < 400 * 1024


def test_what_is_built_by_hand_is_a_torch_file(tmp_path: Path) -> None:
    """Otherwise the hostile files would be refused for what they are not."""
    values = struct.pack("<4f", 1, 2, 3, 4)
    path = Built({"0": values}).write(tmp_path / "a.pt", Built().tensor(4, (2, 2), (2, 1)))
    assert torch.equal(torch.load(path, weights_only=True), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert torch.equal(read_inert(path)[0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a/data.pkl": b"]."}, None),
        ({"a/data.pkl": b"].", "b/data.pkl": b"]."}, "several data.pkl"),
        ({"a/other": b"]."}, "no data.pkl"),
        ({"a/data.pkl": b"].", "a/byteorder": b"big"}, "another order of bytes"),
        ({"a/data.pkl": b"].", "a/byteorder": bytes(100)}, "byteorder asks for 100 bytes; the limit is 16"),
        ({"a/data.pkl": Built().tensor(4, (4,), (1,)) + b"."}, "no data/0"),
        ({"a/data.pkl": Built().tensor(4, (4,), (1,)) + b".", "a/data/0": bytes(15)}, "0 has 15 bytes"),
    ],
)
def test_members_of_archives(tmp_path: Path, members: dict[str, bytes], message: str | None) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    (tmp_path / "a.pt").write_bytes(content.getvalue())
    if message is None:
        assert read_inert(tmp_path / "a.pt") == ([], ())
    else:
        with pytest.raises(RequestError, match=message):
            read_inert(tmp_path / "a.pt")


def test_a_pickle_may_have_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickling, "MOST_BYTES", 100)
    path = Built().write(tmp_path / "a.pt", text("x" * 200))
    with pytest.raises(RequestError, match=r"data\.pkl asks for 208 bytes; the limit is 100"):
        read_inert(path)


def test_booleans_are_booleans(tmp_path: Path) -> None:
    """A byte of a damaged file that is neither 0 nor 1 is true, in every operation."""
    pickled = Built().tensor(16, (16,), (1,)).replace(b"FloatStorage", b"BoolStorage")
    path = Built({"0": bytes(range(16))}).write(tmp_path / "a.pt", pickled)
    flags = read_inert(path)[0]
    assert flags.dtype == torch.bool
    assert flags.sum() == 15
    assert flags.long().max() == 1
