"""Weights of others: files as the authors' code writes them, files that do not fit, and what is given out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench.errors import BenchError, PrerequisiteError, RequestError
from bench.files.tensors import load_tensors
from bench.weights.convert import export_model
from bench.weights.find import Blueprint, find_weights
from bench.weights.load import build
from tests.weights.conftest import FORMATS, authors, bring, imported, pictures, write_jem

if TYPE_CHECKING:
    pass


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


def test_facts_of_an_import_are_kept(tmp_path: Path, write_gmmc: Callable[..., tuple[Path, Path]]) -> None:
    path, _ = write_gmmc(authors.gmmc_state())
    report = bring(path, tmp_path)
    facts = json.loads((report.folder / "model.json").read_text())
    assert facts["weights"] == report.weights
    assert facts["source"] == str(path)
    assert (facts["family"], facts["backbone"], facts["format"]) == ("gmmc-gen", "wrn-10-1", "gmmc")
    assert set(facts["stubbed"]) == set(report.stubbed)
    assert facts["ignored"] == dict(report.ignored)
