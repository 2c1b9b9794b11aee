"""Pickles as nobody writes them: a value or one error, whatever the opcodes are."""

from __future__ import annotations

import pickle
import pickletools
import random
import struct

import pytest

from bench.weights.unpickle import Global, shown, unpickle


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
