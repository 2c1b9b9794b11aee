"""Weights of others: files as the authors' code writes them, files that mean harm, and what suites make of them."""

from __future__ import annotations

import importlib
import json
import os
import runpy
import shutil
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
from bench.errors import BenchError, PrerequisiteError, RequestError
from bench.files.tensors import load_tensors, save_tensors
from bench.weights.convert import export_model, import_model
from bench.weights.find import Blueprint, find_weights
from bench.weights.load import build, start_from
from bench.weights.torch_files import Stub, read_inert

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


# --- the authors' checkpoints -----------------------------------------------------------------------------------


@FORMATS
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_jem(tmp_path: Path, norm: str, zipped: bool) -> None:
    state = authors.jem_state(norm)
    backbone = "wrn-10-1" if norm == "none" else f"wrn-10-1-{norm}"
    path = write_jem(tmp_path / "CIFAR10_MODEL.pt", state, zipped=zipped)
    report = bring(path, tmp_path, format_="jem", family="jem", backbone=backbone)
    model = imported(tmp_path, "jem", backbone)
    expected = authors.jem_logits(state, pictures() * 2 - 1)
    with torch.no_grad():
        assert torch.allclose(model(pictures()), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.5
    assert set(report.ignored) == {"f.linear.weight", "f.linear.bias", "energy_output.weight", "energy_output.bias"}
    assert report.tensors == len(state) - 4
    assert report.buffer == 20
    assert report.stubbed == ()


@FORMATS
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_gmmc_with_a_head_that_would_run_a_command(
    write_gmmc: Callable[..., tuple[Path, Path]], tmp_path: Path, norm: str, zipped: bool
) -> None:
    state = authors.gmmc_state(norm)
    backbone = "wrn-10-1" if norm == "none" else f"wrn-10-1-{norm}"
    path, marker = write_gmmc(state, zipped=zipped)
    report = bring(path, tmp_path, backbone=backbone)
    model = imported(tmp_path, "gmmc-gen", backbone)
    expected = authors.gmmc_logits(state, pictures() * 2 - 1, authors.centers())
    with torch.no_grad():
        assert torch.allclose(model(pictures()), expected, rtol=1e-4, atol=1e-3)
    assert set(report.stubbed) == {"LDALayer.LDALayer", f"{os.system.__module__}.system"}
    assert set(report.ignored) == {"f.linear.weight", "f.linear.bias"}
    assert report.buffer == 20
    assert any("Algorithm 2" in note for note in report.notes)
    assert not marker.exists()


@FORMATS
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_the_trap_is_one(write_gmmc: Callable[..., tuple[Path, Path]], zipped: bool) -> None:
    """Read naively, the same file runs its command: otherwise the test above would show nothing."""
    path, marker = write_gmmc(authors.gmmc_state(), zipped=zipped, forget=False)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_names_of_parallel_training(tmp_path: Path) -> None:
    state = authors.jem_state()
    path = write_jem(tmp_path / "a.pt", {f"module.{name}": tensor for name, tensor in state.items()})
    bring(path, tmp_path, format_="jem", family="jem")
    with torch.no_grad():
        expected = authors.jem_logits(state, pictures() * 2 - 1)
        assert torch.allclose(imported(tmp_path, "jem")(pictures()), expected, rtol=1e-4, atol=1e-4)


def test_a_softmax_baseline_in_jems_format(tmp_path: Path) -> None:
    state = authors.jem_state()
    bring(write_jem(tmp_path / "a.pt", state), tmp_path, format_="jem", family="softmax")
    with torch.no_grad():
        expected = authors.jem_logits(state, pictures() * 2 - 1)
        assert torch.allclose(imported(tmp_path, "softmax")(pictures()), expected, rtol=1e-4, atol=1e-4)


def test_the_buffer_and_its_labels_come_along(write_gmmc: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    path, _ = write_gmmc(authors.gmmc_state())
    bring(path, tmp_path)
    found = find_weights("theirs", tmp_path, tmp_path)
    assert not isinstance(found, str)
    assert found.state is not None
    state, _ = load_tensors(found.state)
    assert state["labels"].tolist() == [i % 10 for i in range(20)]
    assert state["images"].min() < -0.9
    assert (state["age"] > 0).all()


def test_a_buffer_of_other_images_than_the_models_is_refused(tmp_path: Path) -> None:
    """A grid of them would be drawn, and distances measured, without a word."""
    path = tmp_path / "other.pt"
    for found, told in [(torch.zeros(4, 3, 8, 8), "3x8x8"), (torch.zeros(4, 1, 32, 32), "1x32x32")]:
        torch.save({"model_state_dict": authors.jem_state(), "replay_buffer": found}, path)
        with pytest.raises(RequestError, match=f"its replay buffer has images of {told}, the model takes 3x32x32"):
            bring(path, tmp_path, format_="jem", family="jem")
    assert not (tmp_path / "theirs").exists()


def test_a_buffer_with_numbers_that_are_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "nan.pt"
    images = torch.zeros(4, 3, 32, 32)
    images[1, 0, 0, 0] = float("nan")
    torch.save({"model_state_dict": authors.jem_state(), "replay_buffer": images}, path)
    assert "not all numbers are finite in the replay buffer" in bring(path, tmp_path, format_="jem", family="jem").notes


# --- files that do not fit --------------------------------------------------------------------------------------


def test_all_that_is_missing_or_of_another_shape_is_named(tmp_path: Path) -> None:
    state = authors.jem_state()
    del state["f.layer2.0.conv1.bias"]
    state["class_output.weight"] = torch.zeros(7, 64)
    with pytest.raises(BenchError) as caught:
        bring(write_jem(tmp_path / "a.pt", state), tmp_path, format_="jem", family="jem")
    assert "backbone.blocks.stage2_block1.conv1.bias is missing" in str(caught.value)
    assert "head.weight has shape (7, 64), expected (10, 64)" in str(caught.value)
    assert not (tmp_path / "theirs").exists()
    # Nothing is left in the way of the right file.
    bring(write_jem(tmp_path / "a.pt", authors.jem_state()), tmp_path, format_="jem", family="jem")


def test_another_backbone_than_the_file_has(tmp_path: Path) -> None:
    path = write_jem(tmp_path / "a.pt", authors.jem_state())
    with pytest.raises(BenchError, match=r"expected \(32, 16, 3, 3\)"):
        bring(path, tmp_path, format_="jem", family="jem", backbone="wrn-10-2")
    with pytest.raises(BenchError, match="running_mean is missing"):
        bring(path, tmp_path, format_="jem", family="jem", backbone="wrn-10-1-batch")


def test_other_centers_are_refused(write_gmmc: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    path, _ = write_gmmc(authors.gmmc_state(), centers=authors.centers(scale=5.0))
    with pytest.raises(RequestError, match="centers in the checkpoint are not those of Algorithm 2"):
        bring(path, tmp_path)
    assert isinstance(find_weights("theirs", tmp_path, tmp_path), str)


def test_a_name_in_use_is_refused_and_what_has_it_stays(tmp_path: Path) -> None:
    bring(write_jem(tmp_path / "a.pt", authors.jem_state()), tmp_path, format_="jem", family="jem")
    before = (tmp_path / "theirs" / "weights.safetensors").read_bytes()
    other = write_jem(tmp_path / "b.pt", authors.jem_state(seed=5))
    with pytest.raises(RequestError, match="already"):
        bring(other, tmp_path, format_="jem", family="jem")
    assert (tmp_path / "theirs" / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b"])
def test_names_that_are_no_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="name"):
        bring(write_jem(tmp_path / "a.pt", authors.jem_state()), tmp_path, format_="jem", family="jem", name=name)


def test_a_format_that_the_family_does_not_read(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"gmmc-gen does not read format 'gmcm'; did you mean .*gmmc"):
        bring(write_jem(tmp_path / "a.pt", authors.jem_state()), tmp_path, format_="gmcm")


def test_more_classes_than_the_backbone_has_room_for(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="use a wider backbone"):
        bring(write_jem(tmp_path / "a.pt", authors.jem_state()), tmp_path, num_classes=100)


@pytest.mark.parametrize("content", [b"", b"not a pickle at all", b"\x80\x02}q\x00.", b"PK\x03\x04 not a zip"])
def test_what_is_no_torch_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"a\.pt (is not a torch file|cannot be read)"):
        bring(path, tmp_path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file"):
        bring(tmp_path / "none.pt", tmp_path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, {"a": {"b": torch.zeros(1)}}])
def test_what_is_no_plain_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(RequestError, match="does not hold a plain state dict"):
        bring(tmp_path / "a.pt", tmp_path, format_="state-dict")


def test_weights_that_are_no_tensors(tmp_path: Path) -> None:
    state: Any = authors.jem_state() | {"f.conv1.bias": [1, 2]}
    with pytest.raises(RequestError, match=r"not tensors: backbone\.stem\.bias"):
        bring(write_jem(tmp_path / "a.pt", state), tmp_path, format_="jem", family="jem")


# --- files that mean harm ---------------------------------------------------------------------------------------


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


# --- suites -----------------------------------------------------------------------------------------------------

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


def digits(part: str = "test") -> tuple[Tensor, Tensor]:
    from bench.data.loading import load_splits
    from bench.data.registry import DATASETS

    split = getattr(load_splits(DATASETS.get("digits"), Path("/"), seed=0, validation=200), part)
    return torch.from_numpy(split.unit_images()), torch.from_numpy(split.labels)


def test_a_suite_evaluates_imported_weights_without_training(
    project: Project, write_gmmc: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.train.loop import Trainer

    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("it was trained"))
    state = authors.gmmc_state(channels=1)
    path, marker = write_gmmc(state)
    bring(path, project.bench.settings.weights, image_shape=(1, 8, 8))
    records = run_suite(project, "gmmc-gen")
    train = records["gmmc-gen/digits/seed1/train"]
    assert train["status"] == "ok"
    assert "history" not in train

    images, labels = digits()
    logits = authors.gmmc_logits(state, images * 2 - 1, authors.centers())
    (accuracy,) = records["gmmc-gen/digits/seed1/accuracy"]["numbers"]
    assert accuracy["value"] == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert accuracy["n"] == len(labels)
    # gamma^2 over the clean training set, and the read-out of the paper's Eq. 11 with it.
    weights, _ = load_tensors(project.bench.store.folder(train["key"]).file("weights.safetensors"))
    train_images, train_labels = digits("train")
    distance = -2 * authors.gmmc_logits(state, train_images * 2 - 1, authors.centers()).gather(1, train_labels[:, None])
    assert float(weights["gamma2"]) == pytest.approx(float(distance.double().mean()) / 64, rel=1e-4)
    metrics = {
        (number["metric"], number["argument"]): number
        for number in records["gmmc-gen/digits/seed1/calibration"]["numbers"]
    }
    assert metrics["ece", "paper"]["value"] != metrics["ece", ""]["value"]
    assert 0 <= metrics["ece", "paper"]["value"] <= 1
    # The buffer came along, for `bench sample --source buffer` and evaluations of generation.
    model = project.bench.load_model("gmmc-gen")
    samples = model.stored_samples()
    assert samples is not None
    assert samples.labels.tolist() == [i % 10 for i in range(20)]
    assert not marker.exists()


def test_everything_downstream_uses_the_centers_in_the_file(
    project: Project, write_gmmc: Callable[..., tuple[Path, Path]]
) -> None:
    """After the import and after the way through the store: to the bit those that the model was trained with."""
    from bench.attacks.frozen import FrozenModel

    theirs = authors.centers()
    assert float(theirs[9, 9]) == pytest.approx(0.006, abs=5e-4)  # ours is 0
    state = authors.gmmc_state(channels=1)
    bring(write_gmmc(state)[0], project.bench.settings.weights, image_shape=(1, 8, 8))
    records = run_suite(project, "gmmc-gen")
    images = digits()[0][:64]
    features = authors.features({name.removeprefix("f."): tensor for name, tensor in state.items()}, images * 2 - 1)
    for model in (
        imported(project.bench.settings.weights, "gmmc-gen", shape=(1, 8, 8)),
        project.bench.load_model("gmmc-gen"),
    ):
        assert torch.equal(model.class_centers(), theirs)
        assert torch.equal(FrozenModel(model).class_centers(), theirs)
        expected = -0.5 * (features[:, None] - theirs).square().sum(2)
        with torch.no_grad():
            assert torch.allclose(model(images), expected, rtol=1e-5, atol=1e-3)
            read = {name: readout(model.features(images)) for name, readout in model.readouts().items()}
        assert torch.allclose(read["code"], expected.log_softmax(1), atol=1e-3)
        shares = ((9 * features @ theirs.T / 100 + 1) / 10).clamp(1e-12, 1)
        assert torch.allclose(read["linear"].exp(), shares / shares.sum(1, keepdim=True), atol=1e-4)
    facts = records["gmmc-gen/digits/seed1/train"]["imported"]
    assert facts["facts"]["centers"]["max_difference"] == float(theirs[9, 9])
    assert facts["facts"]["centers"]["cosine_min"] == pytest.approx(-1 / 9, abs=1e-6)
    assert facts["format"] == "gmmc"
    assert any("the model keeps the centers in the checkpoint" in note for note in facts["notes"])


def test_other_centers_are_another_model(project: Project, write_gmmc: Callable[..., tuple[Path, Path]]) -> None:
    root = project.bench.settings.weights
    path, _ = write_gmmc(authors.gmmc_state(channels=1))
    keys = []
    for centers in (authors.centers(), None):
        if centers is None:  # the file of a code that keeps no head: the exact ones
            torch.save({"model_state_dict": authors.gmmc_state(channels=1)}, path)
        bring(path, root, image_shape=(1, 8, 8))
        keys.append({job.key for job in project.plan(SUITE.format(family="gmmc-gen", backbone="wrn-10-1")).jobs})
        shutil.rmtree(root / "theirs")
    assert not keys[0] & keys[1]


def test_a_scale_that_is_not_that_of_the_centers(
    project: Project, write_gmmc: Callable[..., tuple[Path, Path]]
) -> None:
    """The read-out "linear" divides by S^2: with another S than that of the centers it would be wrong in silence."""
    bring(write_gmmc(authors.gmmc_state(channels=1))[0], project.bench.settings.weights, image_shape=(1, 8, 8))
    text = SUITE.format(family="gmmc-gen", backbone="wrn-10-1").replace('"theirs"\n[[', '"theirs"\nscale = 3.0\n[[')
    outcome = project.bench.run(project.suite(text), in_process=True, device="cpu")
    (train,) = [job for job in outcome.plan.jobs if job.kind == "train"]
    error = project.bench.store.folder(train.key).error() or {}
    assert "its class centers have norms 10 to 10, the model has scale 3" in error["message"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("weights gone", "weights.safetensors is missing; import it again: delete "),
        ("weights edited", "weights.safetensors was changed or damaged after the import (another SHA-256)"),
        ("weights cut", "weights.safetensors was changed or damaged after the import"),
        ("buffer gone", "state.safetensors is missing; import it again"),
        ("buffer edited", "state.safetensors was changed or damaged after the import"),
        ("facts cut", "model.json is damaged; import it again"),
        ("facts of no text", "model.json is damaged; import it again"),
        ("facts of another kind", "model.json is damaged; import it again"),
        ("another model", "has num_classes 7, the suite says 10"),
        ("all gone", "no imported model 'theirs' in "),
    ],
)
def test_what_happened_to_imported_weights_is_told_when_planning(
    project: Project, write_gmmc: Callable[..., tuple[Path, Path]], harm: str, message: str
) -> None:
    root = project.bench.settings.weights
    bring(write_gmmc(authors.gmmc_state(channels=1))[0], root, image_shape=(1, 8, 8))
    suite = project.suite(SUITE.format(family="gmmc-gen", backbone="wrn-10-1"))
    assert {job.blocked for job in project.bench.plan(suite).jobs} == {None}
    what, _, how = harm.partition(" ")
    names = {"weights": "weights.safetensors", "buffer": "state.safetensors", "facts": "model.json"}
    file = root / "theirs" / names.get(what, "model.json")
    content = file.read_bytes()
    match how:
        case "gone":
            file.unlink()
        case "edited":
            file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "of no text":
            file.write_bytes(b"\xff" + content)
        case "of another kind":
            file.write_bytes(b"[1, 2]")
        case "model":
            file.write_bytes(content.replace(b'"num_classes": 10', b'"num_classes": 7'))
    checked = command("check", str(suite))
    assert message in checked.stdout
    assert {str(job.blocked) for job in project.bench.plan(suite).jobs} == {
        next(line.removeprefix("n/a: ") for line in checked.stdout.splitlines() if line.startswith("n/a: "))
    }
    assert project.bench.run(suite, in_process=True, device="cpu").exit_code() == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../../etc", "no imported model"),
        ("x" * 300, "File name too long"),
        ("~nobody-has-this-name/a.safetensors", "cannot be read"),
        ("folder.safetensors", "is not a file"),
        ("text.safetensors", "is not a readable safetensors file"),
        ("none.safetensors", "not found"),
    ],
)
def test_weights_that_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "text.safetensors").write_text("these are not weights")
    found = find_weights(name, tmp_path / "weights", tmp_path)
    assert isinstance(found, str)
    assert message in found


def test_batch_normalised_weights_in_a_suite(project: Project, tmp_path: Path) -> None:
    """Running statistics are part of what is imported, and evaluation uses them."""
    state = authors.jem_state("batch", channels=1)
    path = write_jem(tmp_path / "a.pt", state)
    bring(
        path,
        project.bench.settings.weights,
        format_="jem",
        family="softmax",
        backbone="wrn-10-1-batch",
        image_shape=(1, 8, 8),
    )
    records = run_suite(project, "softmax", "wrn-10-1-batch")
    images, labels = digits()
    expected = (authors.jem_logits(state, images * 2 - 1).argmax(1) == labels).double().mean()
    (accuracy,) = records["softmax/digits/seed1/accuracy"]["numbers"]
    assert accuracy["value"] == pytest.approx(float(expected))


def test_weights_that_are_not_there_are_not_applicable(project: Project) -> None:
    outcome = project.bench.run(
        project.suite(SUITE.format(family="gmmc-gen", backbone="wrn-10-1")), in_process=True, device="cpu"
    )
    assert outcome.exit_code() == 5
    reasons = {status.reason for status in outcome.summary.states.values()}
    assert len(reasons) == 1
    assert "no imported model 'theirs'" in reasons.pop()


def test_other_weights_under_the_same_name_are_another_model(project: Project, tmp_path: Path) -> None:
    root = project.bench.settings.weights
    keys = []
    for seed in (0, 1):
        path = write_jem(tmp_path / "a.pt", authors.jem_state(channels=1, seed=seed))
        bring(path, root, format_="jem", family="jem", image_shape=(1, 8, 8))
        plan = project.plan(SUITE.format(family="jem", backbone="wrn-10-1"))
        keys.append({job.id: job.key for job in plan.jobs})
        for file in (root / "theirs").iterdir():
            file.unlink()
    assert all(keys[0][name] != keys[1][name] for name in keys[0])


def test_weights_that_changed_since_the_plan_are_not_used(project: Project, tmp_path: Path) -> None:
    from bench.execute.context import Site
    from bench.execute.worker import run_job

    root = project.bench.settings.weights
    bring(
        write_jem(tmp_path / "a.pt", authors.jem_state(channels=1)),
        root,
        format_="jem",
        family="jem",
        image_shape=(1, 8, 8),
    )
    (train,) = [
        job for job in project.plan(SUITE.format(family="jem", backbone="wrn-10-1")).jobs if job.kind == "train"
    ]
    weights, _ = load_tensors(root / "theirs" / "weights.safetensors")
    save_tensors(root / "theirs" / "weights.safetensors", {name: tensor + 1 for name, tensor in weights.items()})
    store = project.bench.store
    run_job(train, Site(store.root, project.bench.settings.data, root, "cpu", "test"))
    error = store.folder(train.key).error()
    assert error is not None
    assert "has changed since the suite was read" in error["message"]


def test_a_safetensors_file_beside_the_suite(project: Project, tmp_path: Path) -> None:
    """Without an import: a file with our names, relative to the suite."""
    bring(
        write_jem(tmp_path / "a.pt", authors.jem_state(channels=1)),
        tmp_path,
        format_="jem",
        family="jem",
        image_shape=(1, 8, 8),
    )
    (project.root / "suites").mkdir()
    (tmp_path / "theirs" / "weights.safetensors").rename(project.root / "suites" / "mine.safetensors")
    text = SUITE.format(family="jem", backbone="wrn-10-1").replace('"theirs"\n[[', '"mine.safetensors"\n[[')
    plan = project.plan(text)
    assert {job.blocked for job in plan.jobs} == {None}
    missing = project.plan(text.replace("mine.safetensors", "none.safetensors"))
    assert all("none.safetensors not found" in str(job.blocked) for job in missing.jobs)


# --- giving out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["softmax", "jem", "gmmc-dis", "gmmc-gen"])
@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".pth"])
def test_what_was_given_out_comes_back(tmp_path: Path, family: str, ending: str) -> None:
    spec = Blueprint(family=family, backbone="wrn-10-1", config={}, seed=3)
    _, model = build(spec, 10, (1, 8, 8), "cpu")
    if family.startswith("gmmc"):
        gamma2: Any = model.gamma2
        gamma2.fill_(0.0625)
    path = tmp_path / f"weights{ending}"
    export_model(model, path)
    bring(path, tmp_path, format_="state-dict", family=family, image_shape=(1, 8, 8))
    again = imported(tmp_path, family, shape=(1, 8, 8)).state_dict()
    assert {name: tensor.dtype for name, tensor in again.items()} == {
        name: tensor.dtype for name, tensor in model.state_dict().items()
    }
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())


def test_a_plain_state_dict_loads_with_weights_only(tmp_path: Path) -> None:
    _, model = build(Blueprint(family="jem", backbone="wrn-10-1", config={}, seed=3), 10, (1, 8, 8), "cpu")
    export_model(model, tmp_path / "a.pt")
    assert set(torch.load(tmp_path / "a.pt", weights_only=True)) == set(model.state_dict())


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"must end in \.safetensors or \.pt"):
        export_model(torch.nn.Linear(1, 1), tmp_path / "a.onnx")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


# --- commands ---------------------------------------------------------------------------------------------------


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)


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


def test_a_disk_that_is_full_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jem(tmp_path / "a.pt", authors.jem_state())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("bench.weights.convert.write_json", full)
        with pytest.raises(PrerequisiteError, match="No space left on device"):
            bring(path, tmp_path, format_="jem", family="jem")
    assert isinstance(find_weights("theirs", tmp_path, tmp_path), str)
    bring(path, tmp_path, format_="jem", family="jem")
    assert not isinstance(find_weights("theirs", tmp_path, tmp_path), str)


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


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "net"])
def test_wrapped_and_prefixed_state_dicts_of_our_families(tmp_path: Path, wrapper: str) -> None:
    _, model = build(Blueprint(family="jem", backbone="wrn-10-1", config={}, seed=3), 10, (1, 8, 8), "cpu")
    own = model.state_dict()
    content = {wrapper: {f"module._orig_mod.{name}": tensor for name, tensor in own.items()}, "epoch": 3}
    torch.save(content, tmp_path / "a.pt")
    report = bring(tmp_path / "a.pt", tmp_path, format_="state-dict", family="jem", image_shape=(1, 8, 8))
    again = imported(tmp_path, "jem", shape=(1, 8, 8)).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in own.items())
    assert report.notes[:2] == (
        f"the state dict lay under {wrapper!r}",
        "'module.' and '_orig_mod.' taken off the names of the tensors",
    )


def test_numbers_of_another_kind_and_numbers_that_are_none(tmp_path: Path) -> None:
    state = authors.jem_state()
    path = write_jem(tmp_path / "a.pt", {**state, "class_output.bias": torch.arange(10)})
    with pytest.raises(RequestError, match=r"head\.bias has type torch\.int64, expected torch\.float32"):
        bring(path, tmp_path, format_="jem", family="jem")
    changed = {**state, "class_output.bias": torch.full((10,), float("nan"))}
    report = bring(write_jem(tmp_path / "a.pt", changed), tmp_path, format_="jem", family="jem")
    assert report.notes == ("not all numbers are finite in head.bias",)


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


def test_facts_of_an_import_are_kept(tmp_path: Path, write_gmmc: Callable[..., tuple[Path, Path]]) -> None:
    path, _ = write_gmmc(authors.gmmc_state())
    report = bring(path, tmp_path)
    facts = json.loads((report.folder / "model.json").read_text())
    assert facts["weights"] == report.weights
    assert facts["source"] == str(path)
    assert (facts["family"], facts["backbone"], facts["format"]) == ("gmmc-gen", "wrn-10-1", "gmmc")
    assert set(facts["stubbed"]) == set(report.stubbed)
    assert facts["ignored"] == dict(report.ignored)
