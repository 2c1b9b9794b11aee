from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner
from pydantic import Field, model_validator

from bench.cli.main import cli
from bench.errors import Problem, RequestError, SuiteError
from bench.spec import Config
from bench.suite.document import LARGEST, Document, dotted, frozen, read, validate
from tests.conftest import TINY, Project
from tests.suite.conftest import BASE, messages


class Sampler(Config):
    steps: int = Field(20, ge=1)
    mode: Literal["staged", "inject"] = "staged"


class Model(Config):
    name: str
    lr: float = 0.1
    decay: tuple[int, ...] = ()
    sampler: Sampler = Field(default_factory=Sampler)

    @model_validator(mode="after")
    def _rule(self) -> Model:
        if self.name == "bad":
            raise ValueError("the name bad is taken")
        return self


class Suite(Config):
    model: tuple[Model, ...]


def document(tmp_path: Path, text: str) -> Document:
    path = tmp_path / "suite.toml"
    path.write_text(text, encoding="utf-8")
    return read(path)


def problems(tmp_path: Path, text: str) -> list[Problem]:
    source = document(tmp_path, text)
    parsed, found = validate(Suite, source.data, source, ())
    assert (parsed is None) == bool(found)
    return found


def test_valid_input_becomes_the_schema(tmp_path: Path) -> None:
    source = document(tmp_path, '[[model]]\nname = "a"\nlr = 1\ndecay = [3, 4]\n')
    parsed, found = validate(Suite, source.data, source, ())
    assert found == []
    assert parsed is not None
    assert parsed.model[0] == Model(name="a", lr=1.0, decay=(3, 4))


@pytest.mark.parametrize(
    ("line", "place", "key", "message", "hint"),
    [
        ("lrr = 1", (3, 1), "model[0].lrr", "unknown key", "did you mean 'lr'?"),
        ("sampler.stesp = 1", (3, 1), "model[0].sampler.stesp", "unknown key", "did you mean 'steps'?"),
        ('lr = "x"', (3, 1), "model[0].lr", "expected a number, got 'x'", ""),
        ("lr = true", (3, 1), "model[0].lr", "expected a number, got true", ""),
        ("decay = [1, 2.5]", (3, 13), "model[0].decay[1]", "expected a whole number, got 2.5", ""),
        ("decay = [1, 2.0]", (3, 13), "model[0].decay[1]", "expected a whole number, got 2.0", "write 2"),
        ("decay = 3", (3, 1), "model[0].decay", "expected a list, got 3", "write [3]"),
        ("decay = 'x'", (3, 1), "model[0].decay", "expected a list, got 'x'", 'write ["x"]'),
        ('lr = "2e-3"', (3, 1), "model[0].lr", "expected a number, got '2e-3'", "write 2e-3 without quotes"),
        ("sampler = 3", (3, 1), "model[0].sampler", "expected a table, got 3", ""),
        ("lr = [1]", (3, 1), "model[0].lr", "expected a number, got a list", ""),
        ("learning_rate = 1", (3, 1), "model[0].learning_rate", "unknown key", "did you mean 'lr'?"),
        ("sampler = {steps = 0}", (3, 12), "model[0].sampler.steps", "greater than or equal to 1, got 0", ""),
        ("sampler.mode = 'stagd'", (3, 1), "model[0].sampler.mode", "'staged' or 'inject', got 'stagd'", "'staged'?"),
    ],
)
def test_a_mistake_names_its_place(
    tmp_path: Path, line: str, place: tuple[int, int], key: str, message: str, hint: str
) -> None:
    (problem,) = problems(tmp_path, f'[[model]]\nname = "a"\n{line}\n')
    assert (problem.line, problem.column) == place
    assert problem.file == tmp_path / "suite.toml"
    assert problem.key == key
    assert problem.message.endswith(message)
    assert problem.hint.endswith(hint)


def test_a_number_where_a_text_belongs(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, "[[model]]\nname = 3\n")
    assert (problem.message, problem.hint) == ("expected a text in quotes, got 3", 'write "3"')


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[model]\na = 1\n[model]\n", "[model] stands twice", "each of several is written [[model]]"),
        ("a = digits\n", "Invalid value", "texts stand in quotes"),
        ("a = 1\n b", "Expected '=' after a key in a key/value pair", ""),
    ],
)
def test_syntax_that_is_often_got_wrong(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(SuiteError) as error:
        document(tmp_path, text)
    (problem,) = error.value.problems
    assert (problem.message, problem.hint) == (f"not valid TOML: {message}", hint)


def test_a_missing_key_stands_at_its_table(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '[[model]]\nname = "a"\n\n[[model]]\nlr = 1\n')
    assert (problem.line, problem.key, problem.message) == (4, "model[1].name", "required key is missing")


def test_a_rule_over_several_keys_speaks_in_its_own_words(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '[[model]]\nname = "bad"\n')
    assert problem.line == 1
    assert problem.message.startswith("the name bad is taken")


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    found = problems(tmp_path, '[[model]]\nname = "a"\nlrr = 1\n[[model]]\nname = 3\n')
    assert [(problem.line, problem.key) for problem in found] == [(3, "model[0].lrr"), (5, "model[1].name")]


def test_a_value_from_an_overlay_is_located_there(tmp_path: Path) -> None:
    source = document(tmp_path, '[[model]]\nname = "a"\n[model.sampler]\nsteps = 0\n')
    overlay_path = tmp_path / "profile.toml"
    overlay_path.write_text("[model]\n\n[model.sampler]\nmode = 'x'\n", encoding="utf-8")
    overlay = read(overlay_path)
    source.data["model"][0]["sampler"]["mode"] = "x"
    source.overlays["model", 0, "sampler", "mode"] = (overlay, ("model", "sampler", "mode"))
    _, found = validate(Suite, source.data, source, ())
    places = {(problem.file, problem.line, problem.key) for problem in found}
    assert places == {
        (tmp_path / "suite.toml", 4, "model[0].sampler.steps"),
        (overlay_path, 4, "model.sampler.mode"),
    }


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a = 1\nb = \n", 2, 5),
        ("a = 1\na = 2\n", 2, 6),
        ("[a\n", 1, 3),
        ('a = "open\n', 1, 10),
        ('a = 1\nb = """open', 2, None),
    ],
)
def test_syntax_errors_have_a_place(tmp_path: Path, text: str, line: int, column: int | None) -> None:
    with pytest.raises(SuiteError) as error:
        document(tmp_path, text)
    (problem,) = error.value.problems
    assert (problem.line, problem.column) == (line, column)
    assert problem.message.startswith("not valid TOML: ")
    assert "(at" not in problem.message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"absent\.toml: no such file"):
        read(tmp_path / "absent.toml")
    (tmp_path / "latin.toml").write_bytes("a = 'é'".encode("latin-1"))
    with pytest.raises(RequestError, match=r"latin\.toml:1:6: byte 0xe9 is not valid UTF-8; save it as UTF-8"):
        read(tmp_path / "latin.toml")
    with pytest.raises(RequestError, match="cannot be read"):
        read(tmp_path)


def test_dotted() -> None:
    assert dotted(("model", 1, "sampler", "steps")) == "model[1].sampler.steps"
    assert dotted(()) == ""


def test_frozen_turns_lists_into_tuples_at_every_depth() -> None:
    assert frozen({"a": [1, [2, {"b": [3]}]]}) == {"a": (1, (2, {"b": (3,)}))}


# Contents that no suite has: refused with file and line, never with a traceback.
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
    found = read(path)
    assert found.data == {"a": {"b": 1, "c": [1, 2]}}
    assert [found.problem(at, "").line for at in (("a",), ("a", "b"), ("a", "c", 1))] == [1, 2, 5]


def test_a_key_is_shown_as_it_would_be_written(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    path.write_text('"\\u001b[31m" = 1\n', encoding="utf-8")
    found = read(path)
    assert found.problem(("\x1b[31m",), "unknown").key == r"'\x1b[31m'"
    assert len(found.problem(("k" * 10_000,), "m" * 10_000, "h" * 10_000).message) <= 400


def test_a_list_that_is_too_short_is_named_and_not_its_missing_entry(project: Project) -> None:
    text = BASE.replace("[data]", "[data]\nresize = [14]")
    ((_, key, said, _),) = messages(project, text)
    assert (key, said) == ("data.resize", "a value is missing: expected 2 at least")
