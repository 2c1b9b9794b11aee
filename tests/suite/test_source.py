"""Files that are no suite, whatever they hold: refused with file and line, never with a traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.main import cli
from bench.errors import RequestError
from bench.suite.document import read
from bench.suite.source import LARGEST
from tests.conftest import TINY, Project

CONTENTS = {
    "deep lists": (b"\n\na = " + b"[" * 5000 + b"]" * 5000, ":3:37: nested more than 32 levels"),
    "deep lists that a parser manages": (b"a = " + b"[" * 40 + b"]" * 40, ":1:37: nested more than 32 levels"),
    "deep tables": (b"\na = " + b"{a=" * 5000 + b"1" + b"}" * 5000, ":2:"),
    "a dotted key": (b"\n" + b"a." * 100_000 + b"a=1", ":2:1: a key of more than 32 parts"),
    "a dotted header": (b"\n[" + b"a." * 100_000 + b"a]", ":2:1: a key of more than 32 parts"),
    "a quoted dotted key": (b'\nx = {"a" . ' + b"'b'." * 40 + b"c = 1}", ":2:"),
    "digits that int() refuses": (b"\nepochs = " + b"9" * 5000, ":2:10: "),
    "digits beyond 64 bits": (b"[a]\nb = [1, " + b"9" * 30 + b"]", ":2:9: the number does not fit into 64 bits"),
    "hexadecimal digits": (b"a = 0x" + b"f" * 50_000, ":1:1: the number does not fit into 64 bits"),
    "an escaped NUL": (b'a = 1\nb = "x\\u0000"', ":2:1: the text holds the character NUL"),
    "an escaped NUL in a key": (b'a = 1\n"x\\u0000" = 2', ":2:1: a key holds the character NUL"),
    "a NUL": (b'a = 1\nb = "\0"', ":2:6: not valid TOML"),
    "another encoding": ("a = 1\r\nb = 'ä'".encode("latin-1"), ":2:6: byte 0xe4 is not valid UTF-8"),
    "UTF-16": ("a = 1\n".encode("utf-16"), ":1:1: byte 0xff is not valid UTF-8"),
    "an archive": (b"PK\x03\x04\x14\x00\x00\x00", ":1:3: not valid TOML"),
    "50 MB": (b"# " + b"x" * 50_000_000, f": cannot be read: it is larger than {LARGEST // 2**20} MiB"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_contents_that_no_suite_has(tmp_path: Path, name: str) -> None:
    content, expected = CONTENTS[name]
    path = tmp_path / "suite.toml"
    path.write_bytes(content)
    with pytest.raises(RequestError) as error:
        read(path)
    assert f"{path}{expected}" in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("what", ["suite", "profile", "settings"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "bytes", "deep", "digits"])
def test_every_kind_of_file_is_read_with_the_same_care(project: Project, what: str, kind: str) -> None:
    path = {
        "suite": project.root / "suites" / "odd.toml",
        "profile": project.root / "suites" / "profiles" / "odd.toml",
        "settings": project.root / "bench.toml",
    }[what]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes({"bytes": b"\xff", "deep": b"a=" + b"[" * 3000, "digits": b"a=" + b"1" * 9000}[kind])
    for arguments in (["check", "odd"], ["check", str(path)]) if what == "suite" else (["check", "tiny"],):
        project.suite(TINY)
        found = CliRunner().invoke(cli, [*arguments, *(["--profile", "odd"] if what == "profile" else [])])
        assert found.exit_code == 2, found.output
        assert str(path.relative_to(project.root)) in found.output


@pytest.mark.parametrize("name", ["x" * 5000, f"./{'x' * 5000}.toml", f"{'x/' * 5000}x.toml", "a\0b", "./a\0b.toml"])
@pytest.mark.parametrize("option", ["suite", "profile"])
def test_names_that_no_file_can_have(project: Project, name: str, option: str) -> None:
    project.suite(TINY)
    arguments = ["check", name] if option == "suite" else ["check", "tiny", "--profile", name]
    found = CliRunner().invoke(cli, arguments)
    assert (found.exit_code, isinstance(found.exception, SystemExit)) == (2, True)
    assert 0 < len(found.output) < 600


def test_marks_and_line_ends_of_other_systems_are_read(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_bytes(b"\xef\xbb\xbf[a]\r\nb = 1\r\n\r\nc = [1,\r\n2]\r\n")
    document = read(path)
    assert document.data == {"a": {"b": 1, "c": [1, 2]}}
    assert [document.problem(at, "").line for at in (("a",), ("a", "b"), ("a", "c", 1))] == [1, 2, 5]


def test_a_key_is_shown_as_it_would_be_written(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text('"\\u001b[31m" = 1\n', encoding="utf-8")
    document = read(path)
    assert document.problem(("\x1b[31m",), "unknown").key == r"'\x1b[31m'"
    assert len(document.problem(("k" * 10_000,), "m" * 10_000, "h" * 10_000).message) <= 400
