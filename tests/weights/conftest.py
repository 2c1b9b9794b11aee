"""Checkpoints as the authors write them, imports of them, and a suite that uses what was imported."""

from __future__ import annotations

import importlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor

from bench.cli.main import cli
from bench.weights.convert import import_model
from bench.weights.find import Blueprint, find_weights
from bench.weights.load import build, start_from

if TYPE_CHECKING:
    from tests.conftest import Project


authors = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("authors.py"))))


HEAD = """\
import os
import torch
from torch import nn


class Trap:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class LDALayer(nn.Module):
    def __init__(self, centers):
        super().__init__()
        self.feat_dim = centers.shape[1]
        self.num_classes = len(centers)
        self.centers = nn.Parameter(centers, requires_grad=False)
"""


FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
"""Torch < 1.6, with which GMMC was published, wrote the other format."""


@pytest.fixture
def heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of GMMC's head, which can be imported only until ``forget_heads``."""
    folder = tmp_path / "authors"
    folder.mkdir()
    (folder / "LDALayer.py").write_text(HEAD)
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield importlib.import_module("LDALayer")
    sys.modules.pop("LDALayer", None)


def forget_heads() -> None:
    del sys.modules["LDALayer"]
    sys.path[:] = [entry for entry in sys.path if not entry.endswith("/authors")]
    importlib.invalidate_caches()


def images_of(channels: int) -> tuple[int, int, int]:
    """The images that the tests import for: digits of 8x8, photographs of 32x32."""
    return (1, 8, 8) if channels == 1 else (channels, 32, 32)


def write_jem(path: Path, state: dict[str, Tensor], *, zipped: bool = True, n: int = 20) -> Path:
    draw = torch.Generator().manual_seed(9)
    channels = state[next(name for name in state if name.endswith("conv1.weight"))].shape[1]
    buffer = torch.rand(n, *images_of(channels), generator=draw) * 2 - 1
    content = {"model_state_dict": state, "replay_buffer": buffer}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.fixture
def write_gmmc(heads: Any, tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Makes GMMC's checkpoint; its head carries a command that leaves a marker if anybody lets it."""

    def write(
        state: dict[str, Tensor], *, zipped: bool = True, centers: Tensor | None = None, forget: bool = True
    ) -> tuple[Path, Path]:
        path, marker = tmp_path / "best_valid_ckpt.pt", tmp_path / "marker"
        head = heads.LDALayer(authors.centers() if centers is None else centers)
        head.trap = heads.Trap(f"touch {marker}")
        channels = state[next(name for name in state if name.endswith("conv1.weight"))].shape[1]
        buffer = [torch.rand(20, *images_of(channels)) * 2 - 1, torch.arange(20) % 10]
        content = {"model_state_dict": state, "replay_buffer": buffer, "margin": head}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        if forget:
            forget_heads()
        return path, marker

    return write


def bring(path: Path, root: Path, **options: Any) -> Any:
    values = {"format_": "gmmc", "family": "gmmc-gen", "name": "theirs", "image_shape": (3, 32, 32), **options}
    return import_model(path, **{"backbone": "wrn-10-1", "num_classes": 10, "weights_root": root, **values})


def imported(root: Path, family: str, backbone: str = "wrn-10-1", shape: tuple[int, int, int] = (3, 32, 32)) -> Any:
    """The model that a suite builds from imported weights."""
    _, model = build(Blueprint(family=family, backbone=backbone, config={}, seed=7), 10, shape, "cpu")
    found = find_weights("theirs", root, root)
    assert not isinstance(found, str), found
    assert start_from(model, found.weights) == found.digest
    return model.eval()


def pictures(shape: tuple[int, int, int] = (3, 32, 32), n: int = 4) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(2))


SUITE = """\
[suite]
name = "theirs"
[data]
dataset = "digits"
[[model]]
family   = "{family}"
backbone = "{backbone}"
weights  = "theirs"
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "calibration"
[[table]]
id = "main"
columns = ["accuracy", "calibration.ece"]
"""


def run_suite(project: Project, family: str, backbone: str = "wrn-10-1") -> dict[str, dict[str, Any]]:
    outcome = project.bench.run(
        project.suite(SUITE.format(family=family, backbone=backbone)), in_process=True, device="cpu"
    )
    assert outcome.exit_code(strict=True) == 0, [
        project.bench.store.folder(job.key).error() for job in outcome.plan.jobs
    ]
    return {job.id: project.bench.store.folder(job.key).record_json() or {} for job in outcome.plan.jobs}


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
