"""Foreign torch and safetensors files: parity with torch, damage in every byte, and files that ask for too much."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import textwrap
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.errors import BenchError, DamagedFileError, RequestError
from bench.files.tensors import load_shapes, load_tensors, save_tensors
from bench.weights import unpickle as unpickling
from bench.weights.torch_files import Stub, read_inert
from bench.weights.unpickle import Global, shown, unpickle

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


# --- what torch reads -------------------------------------------------------------------------------------------


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


# --- damage in every place --------------------------------------------------------------------------------------


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


# --- pickles as nobody writes them ------------------------------------------------------------------------------


def argument(code: pickletools.OpcodeInfo, draw: random.Random) -> bytes:
    """Bytes that an opcode may have behind it: often valid, sometimes enormous."""
    kind = code.arg.name if code.arg is not None else ""
    number = draw.choice([0, 1, 2, 3, 7, 255, 2**16 - 1, 2**31 - 1])
    text = draw.choice([b"", b"a", b"os", b"torch", b"collections", "ü".encode(), b"\xff", b"x" * 50])
    match kind:
        case "":
            return b""
        case "uint1":
            return bytes([number & 255])
        case "uint2":
            return struct.pack("<H", number & 0xFFFF)
        case "int4" | "uint4":
            return struct.pack("<I", number)
        case "uint8":
            return struct.pack("<Q", draw.choice([number, 2**63]))
        case "float8":
            return struct.pack(">d", draw.choice([0.0, float("nan"), 1e308]))
        case "decimalnl_short" | "decimalnl_long":
            return draw.choice([b"1\n", b"00\n", b"01\n", b"12L\n", b"9" * 5000 + b"\n", b"x\n"])
        case "floatnl":
            return draw.choice([b"1.5\n", b"nan\n", b"x\n"])
        case "stringnl":
            return draw.choice([b"'a'\n", b'"\\x41"\n', b"a\n"])
        case "stringnl_noescape" | "unicodestringnl":
            return text.replace(b"\n", b"") + b"\n"
        case "stringnl_noescape_pair":
            return draw.choice(
                [b"os\nsystem\n", b"torch._utils\n_rebuild_tensor_v2\n", b"builtins\nbytes\n", b"a\nb\n"]
            )
        case _ if kind.endswith("1"):
            return bytes([len(text)]) + text
        case _ if kind.endswith("4"):
            return struct.pack("<I", draw.choice([len(text), len(text), 2**31 - 1])) + text
        case _ if kind.endswith("8"):
            return struct.pack("<Q", draw.choice([len(text), len(text), 2**62])) + text
    raise AssertionError(kind)


def nonsense(draw: random.Random, length: int) -> bytes:
    codes = draw.choices([code for code in pickletools.opcodes if code.name != "STOP"], k=length)
    return b"".join(code.code.encode("latin-1") + argument(code, draw) for code in codes)


STARTS = (b"(", b"]", b"}", b")", b"K\x01", b"X\x01\x00\x00\x00a", b"N", b"cos\nsystem\n")


def outcomes_of_nonsense(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        # A start that fills the stack, so that more than the first opcode is reached.
        start = b"".join(draw.choices(STARTS, k=6))
        content = b"(" + start + nonsense(draw, draw.randint(1, 12)) + b"t."
        try:
            unpickle(content, persistent=lambda given: given)
            found.append("value")
        except ValueError as error:
            found.append(str(error))
        # genops lets these through where its own parsers meet what nobody writes; ``read_inert`` says so of the file.
        except (UnicodeDecodeError, OverflowError, struct.error) as error:
            found.append(type(error).__name__)
    return found


def test_every_opcode_in_any_order() -> None:
    """Nothing but a value or a ValueError comes of it; no opcode is without a case."""
    found = outcomes_of_nonsense(4000, seed=1)
    assert found.count("value") > 20
    assert len(set(found)) > 30


@pytest.mark.slow
def test_many_more_opcodes() -> None:
    assert outcomes_of_nonsense(300_000, seed=2).count("value") > 1000


@pytest.mark.parametrize("protocol", range(6))
def test_python_reads_the_same(protocol: int) -> None:
    value = [1, -5, 2**80, 1.25, "a", "ü", b"b", (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {"a": [None, True]}, [], {}, ()]
    value.append(value[11])  # by reference
    content = pickle.dumps(value, protocol=protocol)
    found = unpickle(content + b"rest")
    assert found.value == value
    assert found.value[11] is found.value[15]
    assert found.end == len(content)
    assert found.stubbed == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"h\x05.", "entry 5 of its memo, which is not there"),
        (b"R.", "takes more than it has"),
        (b"].]", None),
        (b"]]e.", "ends a group that it never began"),
        (b"K\x01K\x01R.", "calls something that is no class"),
        (b"cos\nsystem\nK\x01R.", "calls something that is no class"),
        (b"(K\x01d.", "has a key without a value"),
        (b"}(]K\x01u.", "has a key that is neither text nor number"),
        (b"})\x85K\x01s.", "has a key that is neither text nor number"),
        (b"K\x01K\x01a.", "appends to something that is no list"),
        (b"K\x01K\x01K\x01s.", "sets items of something that is no dictionary"),
        (b"K\x01Q.", "refers to data outside of it where there are none"),
        (b"\x82\x01.", "uses EXT1"),
        (b"K\x01K\x01.", "ends with an unfinished object"),
        (b"K\x01", "STOP"),
    ],
)
def test_pickles_that_are_wrong(content: bytes, message: str | None) -> None:
    if message is None:
        assert unpickle(content).value is not None
    else:
        with pytest.raises(ValueError, match=message):
            unpickle(content)


def test_deep_and_repeated_structures() -> None:
    deep = unpickle(b"]" + b"]" * 100_000 + b"a" * 100_000 + b".").value
    assert len(deep) == 1
    with pytest.raises(ValueError, match="neither text nor number"):  # hashing it would overflow the stack of C
        unpickle(b"}" + b")" + b"\x85" * 100_000 + b"K\x01s.")
    # Each level names the one below twice: 2^60 leaves for whoever walks it, 60 lists in memory.
    laughs = unpickle(b"]q\x000" + b"".join(b"(h%ch%clq%c0" % (i, i, i + 1) for i in range(60)) + b"h\x3c.").value
    assert len(laughs) == 2


def test_copies_of_what_the_memo_holds_are_counted() -> None:
    """A container of a million entries is nothing; copying it with every fourth byte would be."""
    many = b"(" + b"N" * 500_000 + b"l" + b"q\x00"
    copies = b"c__builtin__\ntuple\nq\x01" + b"h\x01h\x00\x85R" * 100 + b"."
    with pytest.raises(ValueError, match="more than 2,000,000 operations"):
        unpickle(many + copies)


def test_names_are_fit_for_people() -> None:
    assert shown("a\x1b[31m\nb") == "a\\x1b[31m\\nb"
    assert shown("x" * 1000) == "x" * 200 + "…"
    assert shown("\ud800").encode()
    assert unpickle(b"ca\nb\n.").value == Global("a.b")


# --- files that ask for more than they are ----------------------------------------------------------------------


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
