"""Mutated checkpoints through ``bench import``: whatever they are, an import or an error for people."""

from __future__ import annotations

import io
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from bench.cli.main import cli
from bench.files.tensors import save_tensors
from tests.weights.conftest import authors

if TYPE_CHECKING:
    from tests.conftest import Project

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 2**80, float("nan"), "", "x" * 5000, "\ud800", b"\xff", [], {}, (), [[]], {"a": {}}),
    *(torch.tensor(0.0), torch.zeros(0), torch.zeros(3, 0, 2), torch.ones(1).expand(2000, 2000), torch.zeros(2).long()),
    *(torch.tensor([True]), torch.zeros(2, dtype=torch.complex64), torch.full((4, 3, 8, 8), float("inf"))),
    *(torch.float32, torch.Size([2]), range(3), {1, 2}, object, ValueError("a"), slice(2), torch.nn.Linear(1, 1)),
)
"""What may stand anywhere in a checkpoint."""


def content(kind: str) -> dict[str, Any]:
    state: dict[str, Tensor] = authors.jem_state() if kind == "jem" else authors.gmmc_state()
    images = torch.zeros(4, 3, 32, 32)
    if kind == "state-dict":
        return dict(state)
    return {"model_state_dict": state, "replay_buffer": images if kind == "jem" else [images, torch.arange(4)]}


def saved(value: Any, *, zipped: bool) -> bytes:
    target = io.BytesIO()
    torch.save(value, target, _use_new_zipfile_serialization=zipped)
    return target.getvalue()


def mutated(draw: random.Random) -> tuple[str, str, bytes]:
    """A kind of checkpoint, an ending, and bytes that were a valid file once."""
    kind = draw.choice(["jem", "gmmc", "state-dict"])
    value = content(kind)
    zipped = draw.random() < 0.6
    match draw.choice(["value", "key", "bytes", "bytes", "cut", "members", "whole", "safetensors"]):
        case "value":
            place: Any = value if kind == "state-dict" or draw.random() < 0.5 else value["model_state_dict"]
            place[draw.choice(list(place))] = draw.choice(VALUES)
            return kind, ".pt", saved(value, zipped=zipped)
        case "key":
            place = value if kind == "state-dict" else value["model_state_dict"]
            wrong = [value for value in VALUES if isinstance(value, str | int | float | bytes | None)]
            place[draw.choice(wrong)] = place.pop(draw.choice(list(place)))
            return kind, ".pt", saved(value, zipped=zipped)
        case "whole":
            return kind, ".pt", saved(draw.choice(VALUES), zipped=zipped)
        case "cut":
            data = saved(value, zipped=zipped)
            return kind, ".pt", data[: draw.randrange(len(data))]
        case "members":
            return kind, ".pt", shuffled(saved(value, zipped=True), draw)
        case "safetensors":
            folder = Path("safetensors")
            save_tensors(folder / "a.safetensors", content("state-dict"))
            return "state-dict", ".safetensors", flipped((folder / "a.safetensors").read_bytes(), draw, 2000)
    # Where the pickle and the tables are: at both ends; the middle is numbers.
    return kind, ".pt", flipped(saved(value, zipped=zipped), draw, 6000)


def flipped(data: bytes, draw: random.Random, ends: int) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        place = draw.randrange(min(ends, len(data)))
        place = place if draw.random() < 0.7 else len(data) - 1 - place
        changed[place] = draw.randrange(256)
    return bytes(changed)


def shuffled(data: bytes, draw: random.Random) -> bytes:
    """The archive with two members in each other's place, without one, with one twice as long, or compressed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    first, second = draw.sample(sorted(members), 2)
    compression = zipfile.ZIP_STORED
    match draw.randrange(5):
        case 0:
            members[first], members[second] = members[second], members[first]
        case 1:
            del members[first]
        case 2:
            members[first] *= 2
        case 3:
            compression = zipfile.ZIP_DEFLATED
        case _:
            pickled = next(name for name in members if name.endswith("data.pkl"))
            members[pickled] = flipped(members[pickled], draw, len(members[pickled]))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, part in members.items():
            archive.writestr(name, part)
    return target.getvalue()


def imports(project: Project, count: int, seed: int) -> Iterator[int]:
    """Exit codes of imports of so many mutated files; no traceback, and nothing half imported."""
    draw = random.Random(seed)
    folder = project.bench.settings.weights / "theirs"
    for i in range(count):
        kind, ending, data = mutated(draw)
        path = Path(f"mutated{ending}")
        path.write_bytes(data)
        family = "gmmc-gen" if kind == "gmmc" else "jem"
        how = ["--format", kind, "--as", family, "--backbone", "wrn-10-1", "--name", "theirs"]
        result = CliRunner().invoke(cli, ["import", str(path), *how])
        kept = f"mutation {i} of seed {seed}"
        assert result.exception is None or isinstance(result.exception, SystemExit), (kept, result.exception)
        assert result.exit_code in (0, 2, 5), kept
        if result.exit_code:
            assert str(path) in result.stderr, kept
            assert len(result.stderr) < 3000, kept
            assert not (folder / "model.json").exists(), kept
        shutil.rmtree(folder, ignore_errors=True)
        yield result.exit_code


def test_mutated_checkpoints(project: Project) -> None:
    codes = list(imports(project, 60, seed=1))
    assert codes.count(2) > 20
    assert 0 in codes  # what was changed need not matter


@pytest.mark.slow
def test_many_mutated_checkpoints(project: Project) -> None:
    codes = list(imports(project, 1500, seed=2))
    assert codes.count(0) > 20
    assert codes.count(2) > 500
    assert codes.count(5) > 5
