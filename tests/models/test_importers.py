from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench_models.importers import gmmc, jem
from bench_models.wide_resnet import build

authors = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "weights" / "authors.py")))


def margin(centers: Tensor) -> Any:
    """A pickled head as an inert reader sees it."""
    return SimpleNamespace(_parameters={"centers": torch.nn.Parameter(centers, requires_grad=False)}, training=False)


def images(n: int = 3) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("reader", [jem, gmmc])
def test_the_trunk_computes_the_authors_features(norm: str, reader: Any) -> None:
    state = authors.jem_state(norm) if reader is jem else authors.gmmc_state(norm)
    read = reader({"model_state_dict": state}, 64, 10)
    network = build("wrn-10-1" + ("" if norm == "none" else f"-{norm}"), 3).eval()
    own = {k.removeprefix("backbone."): v for k, v in read.weights.items() if k.startswith("backbone.")}
    network.load_state_dict(own)  # strict: no tensor of ours is missing, none of theirs is left
    expected = authors.features(authors.trunk(norm), images())
    with torch.no_grad():
        assert torch.allclose(network(images()), expected, atol=1e-5, rtol=1e-4)
    assert expected.abs().mean() > 0.1


def test_dead_heads_of_jem_are_ignored_with_a_reason_and_the_class_head_is_ours() -> None:
    state = authors.jem_state()
    read = jem({"model_state_dict": state}, 64, 10)
    assert set(read.ignored) == {"f.linear.weight", "f.linear.bias", "energy_output.weight", "energy_output.bias"}
    assert all("dead head" in reason for reason in read.ignored.values())
    assert torch.equal(read.weights["head.weight"], state["class_output.weight"])
    assert torch.equal(read.weights["head.bias"], state["class_output.bias"])


def test_a_tensor_that_nobody_knows_is_reported() -> None:
    state = authors.gmmc_state() | {"f.layer1.0.surprise": torch.zeros(1)}
    assert gmmc({"model_state_dict": state}, 64, 10).ignored["f.layer1.0.surprise"] == "unknown"


def test_deeper_networks_and_parallel_training() -> None:
    state = {f"module.f.layer2.3.{name}": torch.zeros(1) for name in ("conv1.weight", "conv2.bias", "bn2.weight")}
    assert set(gmmc({"model_state_dict": state}, 64, 10).weights) == {
        "backbone.blocks.stage2_block4.conv1.weight",
        "backbone.blocks.stage2_block4.conv2.bias",
        "backbone.blocks.stage2_block4.norm2.weight",
    }


def test_jems_buffer_belongs_to_no_class() -> None:
    buffer = torch.rand(7, 3, 32, 32) * 2 - 1
    state = jem({"model_state_dict": authors.jem_state(), "replay_buffer": buffer}, 64, 10).state
    assert torch.equal(state["images"], buffer)
    assert state["labels"].tolist() == [-1] * 7
    assert (state["age"] > 0).all()


@pytest.mark.parametrize("pair", [list, tuple])
def test_gmmcs_buffer_is_images_with_labels(pair: Any) -> None:
    buffer = (torch.rand(3, 3, 32, 32), torch.tensor([9.0, 0.0, 4.0]))
    state = gmmc({"model_state_dict": authors.gmmc_state(), "replay_buffer": pair(buffer)}, 64, 10).state
    assert torch.equal(state["images"], buffer[0])
    assert state["labels"].tolist() == [9, 0, 4]
    assert state["labels"].dtype == torch.int64


@pytest.mark.parametrize("buffer", [None, [], ()])
def test_no_buffer_is_no_state(buffer: Any) -> None:
    assert not gmmc({"model_state_dict": authors.gmmc_state(), "replay_buffer": buffer}, 64, 10).state
    assert not jem({"model_state_dict": authors.jem_state(), "replay_buffer": buffer}, 64, 10).state


def test_a_buffer_whose_labels_do_not_fit_is_refused() -> None:
    buffer = [torch.rand(3, 3, 32, 32), torch.zeros(2)]
    with pytest.raises(ValueError, match=r"replay buffer has images \(3, 3, 32, 32\) and labels \(2,\)"):
        gmmc({"model_state_dict": authors.gmmc_state(), "replay_buffer": buffer}, 64, 10)


@pytest.mark.parametrize(
    ("buffer", "message"),
    [
        ([[1, 2], [3, 4]], "not of tensors"),
        ([torch.zeros(2, 3, 8, 8), None], "not of tensors"),
        ([torch.zeros(2, 3, 8, 8), torch.tensor([0, 10])], "labels from 0 to 10, expected whole numbers from 0 to 9"),
        ([torch.zeros(2, 3, 8, 8), torch.tensor([0, 2**40])], "labels from 0 to 1099511627776"),
        ([torch.zeros(2, 3, 8, 8), torch.tensor([-1, 0])], "labels from -1 to 0"),
        ([torch.zeros(2, 3, 8, 8), torch.tensor([0.5, 1])], "labels from 0.5 to 1.0, expected whole numbers"),
        ([torch.zeros(2, 3, 8, 8), torch.tensor([0, float("nan")])], "labels from nan to nan"),
        ([torch.zeros(2, 3, 8, 8, dtype=torch.complex64), torch.zeros(2)], "type torch.complex64"),
        ([torch.tensor(0.0), torch.zeros(2)], r"images \(\) and labels \(2,\)"),
    ],
)
def test_buffers_that_are_none(buffer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gmmc({"model_state_dict": authors.gmmc_state(), "replay_buffer": buffer}, 64, 10)


class TestCenters:
    def test_those_of_the_recursion_are_kept(self) -> None:
        read = gmmc({"model_state_dict": authors.gmmc_state(), "margin": margin(authors.centers())}, 64, 10)
        assert torch.equal(read.weights["centers"], authors.centers())
        assert read.facts["centers"]["last_diagonal"] == pytest.approx(0.006, abs=5e-4)
        assert any("Algorithm 2 in float32, at most 0.006 from the exact ones" in note for note in read.notes)

    def test_they_may_be_a_buffer_or_in_another_precision(self) -> None:
        head = SimpleNamespace(_parameters={}, _buffers={"centers": authors.centers().double()})
        read = gmmc({"model_state_dict": authors.gmmc_state(), "margin": head}, 64, 10)
        assert torch.equal(read.weights["centers"], authors.centers())

    def test_without_them_nothing_is_claimed(self) -> None:
        read = gmmc({"model_state_dict": authors.gmmc_state(), "margin": SimpleNamespace()}, 64, 10)
        assert not any("Algorithm 2" in note for note in read.notes)

    @pytest.mark.parametrize(
        "centers",
        [authors.centers(scale=5.0), authors.centers().flip(0), torch.randn(10, 64)],
        ids=["scale", "order", "untrained"],
    )
    def test_others_are_refused(self, centers: Tensor) -> None:
        with pytest.raises(ValueError, match="not those of Algorithm 2 with S = 10"):
            gmmc({"model_state_dict": authors.gmmc_state(), "margin": margin(centers)}, 64, 10)

    @pytest.mark.parametrize("shape", [(9, 64), (10, 128)])
    def test_those_of_another_number_of_classes_or_features(self, shape: tuple[int, int]) -> None:
        head = margin(authors.centers(*shape))
        with pytest.raises(ValueError, match=rf"have shape \({shape[0]}, {shape[1]}\), expected \(10, 64\)"):
            gmmc({"model_state_dict": authors.gmmc_state(), "margin": head}, 64, 10)


@pytest.mark.parametrize("reader", [jem, gmmc])
@pytest.mark.parametrize("content", [None, [1], {}, {"model_state_dict": 3}, {"state_dict": {}}])
def test_what_is_no_such_checkpoint_is_refused(reader: Any, content: Any) -> None:
    with pytest.raises(ValueError, match="no model_state_dict"):
        reader(content, 64, 10)


@pytest.mark.parametrize("reader", [jem, gmmc])
def test_weights_of_something_else_are_refused(reader: Any) -> None:
    with pytest.raises(ValueError, match="no tensor of the file belongs to a Wide-ResNet"):
        reader({"model_state_dict": {"f.transformer.weight": torch.zeros(1)}}, 64, 10)
