"""bench import and bench export: what they print, and the codes with which they end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from bench.files.tensors import load_tensors
from bench.weights.find import Blueprint
from bench.weights.load import build
from tests.weights.conftest import SUITE, authors, command, run_suite, write_jem

if TYPE_CHECKING:
    from tests.conftest import Project


def test_the_commands(project: Project, write_gmmc: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    path, marker = write_gmmc(authors.gmmc_state(channels=1))
    how = ("--format", "gmmc", "--as", "gmmc-gen", "--backbone", "wrn-10-1", "--shape", "1x8x8")
    result = command("import", str(path), *how, "--name", "theirs")
    assert result.exit_code == 0, result.output
    assert "theirs: 19 tensors, 20 buffer images, sha256 " in result.stdout
    assert 'use it in a suite: family = "gmmc-gen", weights = "theirs"' in result.stdout
    assert "ignored f.linear.weight: dead head" in result.stdout
    assert "not executed: LDALayer.LDALayer" in result.stdout
    assert f"not executed: {os.system.__module__}.system" in result.stdout
    assert "gamma^2 is estimated" in result.stdout
    assert not marker.exists()

    again = command("import", str(path), *how, "--name", "theirs")
    assert again.exit_code == 2
    assert "there is an imported model 'theirs' already" in again.stderr
    assert again.stdout == ""

    run_suite(project, "gmmc-gen")
    out = tmp_path / "given" / "out.safetensors"
    result = command("export", "gmmc-gen", "--out", str(out))
    assert (result.exit_code, result.stdout) == (0, f"{out}\n")
    weights, _ = load_tensors(out)
    assert torch.equal(weights["backbone.stem.weight"], authors.gmmc_state(channels=1)["f.conv1.weight"])
    assert torch.isfinite(weights["gamma2"])


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"--shape": "32x32"}, 2, "--shape 32x32: expected channels x height x width"),
        ({"--shape": "1x8x\u00b2"}, 2, "expected channels x height x width"),
        ({"--shape": "\u0663x8x8"}, 2, "expected channels x height x width"),
        ({"--shape": "1x8x-8"}, 2, "expected channels x height x width"),
        ({"--shape": "0x8x8"}, 2, "expected channels x height x width"),
        ({"--shape": "1x8x8x8"}, 2, "expected channels x height x width"),
        ({"--shape": "3x32x32\n"}, 2, "expected channels x height x width"),
        ({"--shape": ""}, 2, "expected channels x height x width"),
        ({"--shape": "9" * 5000 + "x8x8"}, 2, "expected channels x height x width"),
        ({"--shape": "99999999x99999999x99999999"}, 2, "16,777,216 values at most"),
        ({"--shape": "3x2x2"}, 2, "H, W >= 4, got (3, 2, 2)"),
        ({"--classes": "0"}, 2, "0 classes: expected 1 to 100,000"),
        ({"--classes": "-5"}, 2, "-5 classes: expected 1 to 100,000"),
        ({"--classes": "1000000000"}, 2, "1000000000 classes: expected 1 to 100,000"),
        ({"--classes": "1"}, 2, "at least 2 classes"),
        ({"--as": "gmmc-gne"}, 2, "gmmc-gen"),
        ({"--as": "module", "--backbone": "none", "--format": "state-dict"}, 2, "has no weights of its own to import"),
        ({"--as": "nowhere:SPEC"}, 2, "cannot be imported"),
        ({"--backbone": "wrn-1000-1000"}, 2, "parameters; the limit is 2,000,000,000"),
        ({"--backbone": "wrn-10-100000"}, 2, "unknown backbone"),
        ({"--backbone": "wrn-60000000004-1"}, 2, "unknown backbone"),
        ({"--name": "x" * 300}, 2, "100 at most"),
        ({"--name": "\x1b[31m"}, 2, "name '\\x1b[31m'"),
        ({"--name": "a.safetensors"}, 2, "leave the ending out"),
        ({"--name": ".."}, 2, "name '..'"),
        ({"file": "."}, 2, "'.' is a directory"),
        ({"file": "x" * 300}, 5, "cannot be read: File name too long"),
        ({"file": "none.safetensors"}, 2, "none.safetensors: no such file"),
        ({"file": "folder.safetensors"}, 2, "'folder.safetensors' is a directory"),
        ({"file": "text.safetensors"}, 5, "text.safetensors is not a readable safetensors file"),
        ({"file": "x" * 300 + ".safetensors"}, 5, ".safetensors is missing"),
        ({"--backbone": "wrn-11-1"}, 2, "wrn"),
        ({"--format": "keras"}, 2, "does not read format 'keras'"),
        ({"--name": "a/b"}, 2, "name 'a/b'"),
        ({"--backbone": "wrn-10-2"}, 2, "have shape (10, 64), expected (10, 128): another backbone"),
        ({"--backbone": "wrn-10-1-batch"}, 2, "best_valid_ckpt.pt does not fit the model: "),
        ({"--classes": "100"}, 2, "use a wider backbone"),
        ({"file": "none.pt"}, 2, "none.pt: no such file"),
        ({"file": "text.pt"}, 2, "text.pt is not a torch file"),
    ],
)
def test_wrong_imports(
    project: Project,
    write_gmmc: Callable[..., tuple[Path, Path]],
    change: dict[str, str],
    code: int,
    message: str,
) -> None:
    path, _ = write_gmmc(authors.gmmc_state())
    Path("text.pt").write_text("these are not weights")
    Path("text.safetensors").write_text("these are not weights")
    Path("folder.safetensors").mkdir()
    options = {
        "file": str(path),
        "--format": "gmmc",
        "--as": "gmmc-gen",
        "--backbone": "wrn-10-1",
        "--name": "theirs",
        **change,
    }
    file = options.pop("file")
    result = command("import", file, *(word for pair in options.items() for word in pair))
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize("where", ["root", "folder"])
def test_where_nothing_can_be_written(project: Project, tmp_path: Path, where: str) -> None:
    path = write_jem(tmp_path / "a.pt", authors.jem_state())
    root = project.bench.settings.weights
    in_the_way = root if where == "root" else root / "theirs"
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("a file in place of a folder")
    how = ("--format", "jem", "--as", "jem", "--backbone", "wrn-10-1", "--name", "theirs")
    result = command("import", str(path), *how)
    assert result.exit_code == 5
    assert f"{root / 'theirs'} cannot be written: " in result.stderr
    assert in_the_way.read_text() == "a file in place of a folder"


def test_names_that_are_not_utf8_or_carry_escapes(project: Project, tmp_path: Path) -> None:
    """Of files and of tensors: what is printed and stored is plain text."""
    state = {**authors.jem_state(), "f.\x1b[31m\ud800": torch.zeros(1), "f." + "x" * 5000: torch.zeros(1)}
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pt"))
    path.write_bytes(write_jem(tmp_path / "a.pt", state).read_bytes())
    how = ("--format", "jem", "--as", "jem", "--backbone", "wrn-10-1", "--name", "theirs")
    result = command("import", str(path), *how)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) < 400
    facts = json.loads((project.bench.settings.weights / "theirs" / "model.json").read_text(encoding="utf-8"))
    assert facts["source"].endswith("caf\\udce9.pt")


@pytest.mark.parametrize(
    ("target", "code", "message"),
    [
        ("a.onnx", 2, "the name must end in .safetensors or .pt"),
        ("a", 2, "the name must end in .safetensors or .pt"),
        ("folder.pt", 2, "'folder.pt' is a directory"),
        ("file/a.pt", 5, "cannot be written: "),
        ("file/a.safetensors", 5, "cannot be written: "),
        ("/proc/nobody/a.pt", 5, "cannot be written: "),
        ("x" * 300 + ".pt", 5, "cannot be written: File name too long"),
    ],
)
def test_targets_of_exports(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, code: int, message: str
) -> None:
    from bench.api import Bench

    _, model = build(Blueprint(family="jem", backbone="wrn-10-1", config={}, seed=3), 10, (1, 8, 8), "cpu")
    monkeypatch.setattr(Bench, "load_model", lambda *_, **__: model)
    Path("folder.pt").mkdir()
    Path("file").write_text("a file")
    result = command("export", "jem", "--out", target)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr


def test_exporting_what_is_not_there(project: Project) -> None:
    suite = project.suite(SUITE.format(family="gmmc-gen", backbone="wrn-10-1"))
    nobody = command("export", "gmmc-dis", "--suite", str(suite), "--out", "a.pt")
    assert nobody.exit_code == 2
    assert "no model 'gmmc-dis' in suite theirs" in nobody.stderr
    untrained = command("export", "gmmc-gen", "--suite", str(suite), "--out", "a.pt")
    assert untrained.exit_code == 2
    assert "is not trained; run it" in untrained.stderr
