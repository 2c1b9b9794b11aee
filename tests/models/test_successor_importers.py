"""Checkpoints of JEM++ and SADA-JEM: tensors by our names, and files that do not fit."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from bench_models.successor_importers import jem_pp, sada_jem
from bench_models.wide_resnet import build

authors = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "weights" / "authors.py")))
BOTH = pytest.mark.parametrize(
    ("reader", "state"),
    [(jem_pp, authors.jem_pp_state), (sada_jem, authors.sada_jem_state)],
    ids=["jem-pp", "sada-jem"],
)


@BOTH
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_trunk_computes_the_authors_features(reader: Any, state: Any, norm: str) -> None:
    read = reader({"model_state_dict": state(norm)}, 64, 10)
    network = build("wrn-10-1" + ("" if norm == "none" else f"-{norm}"), 3).eval()
    own = {k.removeprefix("backbone."): v for k, v in read.weights.items() if k.startswith("backbone.")}
    network.load_state_dict(own)  # strict: no tensor of ours is missing, none of theirs is left
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1
    expected = authors.features(authors.trunk(norm), images)
    with torch.no_grad():
        assert torch.allclose(network(images), expected, atol=1e-5, rtol=1e-4)
    assert expected.abs().mean() > 0.1
    assert torch.equal(read.weights["head.weight"], state(norm)["class_output.weight"])
    assert any("fitted to the training set" in note for note in read.notes)


def test_second_names_of_layers_are_ignored_with_the_first_one() -> None:
    read = jem_pp({"model_state_dict": authors.jem_pp_state()}, 64, 10)
    second = {name for name in authors.jem_pp_state() if "layer_one" in name or "other_layers" in name}
    assert len(second) > 20
    assert set(read.ignored) == second | {"energy_output.weight", "energy_output.bias"}
    assert read.ignored["f.layer_one.weight"] == "second name of f.conv1.weight"
    assert read.ignored["f.other_layers.1.0.bn2.running_var"] == "second name of f.layer2.0.bn2.running_var"
    assert read.ignored["f.other_layers.3.bias"] == "second name of f.bn1.bias"


@pytest.mark.parametrize(
    "name", ["f.layer_one.bias", "f.other_layers.2.0.conv1.weight", "f.other_layers.3.running_mean"]
)
def test_two_names_of_a_layer_with_different_tensors_are_refused(name: str) -> None:
    state = authors.jem_pp_state()
    state[name] = state[name] + 1
    with pytest.raises(ValueError, match=rf"{name} and f\..* are one layer in the JEM\+\+ code, but differ"):
        jem_pp({"model_state_dict": state}, 64, 10)


def test_a_network_without_second_names_is_read_too() -> None:
    """The JEM++ code can train the plain network (``--model wrn``), and in parallel."""
    plain = {f"module.{name}": tensor for name, tensor in authors.sada_jem_state().items()}
    one = jem_pp({"model_state_dict": plain}, 64, 10).weights
    other = jem_pp({"model_state_dict": authors.jem_pp_state()}, 64, 10).weights
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_second_name_alone_is_no_layer() -> None:
    state = authors.jem_pp_state()
    del state["f.conv1.weight"]
    read = jem_pp({"model_state_dict": state}, 64, 10)
    assert read.ignored["f.layer_one.weight"] == "unknown"
    assert "backbone.stem.weight" not in read.weights


@BOTH
def test_the_buffer_belongs_to_no_class(reader: Any, state: Any) -> None:
    buffer = torch.rand(7, 3, 32, 32) * 2 - 1
    read = reader({"model_state_dict": state(), "replay_buffer": buffer}, 64, 10)
    assert torch.equal(read.state["images"], buffer)
    assert read.state["labels"].tolist() == [-1] * 7


def test_the_network_for_large_images_is_refused() -> None:
    state = authors.sada_jem_state() | {"f.layer4.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(ValueError, match="fourth stage"):
        sada_jem({"model_state_dict": state}, 64, 10)


@BOTH
@pytest.mark.parametrize("content", [None, [], {"model_state_dict": None}, {"replay_buffer": torch.zeros(1)}])
def test_what_is_no_checkpoint(reader: Any, state: Any, content: Any) -> None:
    """SADA-JEM's code also writes files with a buffer and no model."""
    with pytest.raises(ValueError, match="no model_state_dict"):
        reader(content, 64, 10)
