"""Batch sizes that fill a GPU: closed forms of a memory that grows linearly with the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacks import room
from bench.attacks.room import MOST, batch_size_for, fitting


@given(st.integers(0, 10_000), st.integers(1, 500), st.integers(1, 10**6), st.integers(1, 300), st.integers(1, 3000))
def test_the_largest_doubled_batch_that_fits_and_is_used(
    fixed: int, each: int, room: int, least: int, wanted: int
) -> None:
    found = fitting(lambda count: fixed + each * count, room, least, wanted)
    ratio = found // least
    assert found == least * ratio
    assert ratio & (ratio - 1) == 0
    assert found == least or fixed + each * found <= room * (1 + 1e-9)
    assert found == least or (found < 2 * wanted and found <= MOST)
    assert found >= wanted or 2 * found > MOST or fixed + each * 2 * found > room * (1 - 1e-9)


def test_what_two_batches_need_is_measured_and_no_more() -> None:
    asked: list[int] = []

    def peak(count: int) -> float:
        asked.append(count)
        return 10.0 * count

    assert fitting(peak, 1e9, 64, 1000) == MOST == 512
    assert asked == [64, 128]
    asked.clear()
    assert fitting(peak, 1e9, 64, 64) == 64
    assert asked == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_gpu_that_has_no_room_to_measure_keeps_the_batch(error: Exception) -> None:
    def peak(count: int) -> float:
        if count > 64:
            raise error
        return 1.0

    assert fitting(peak, 1e9, 64, 1000) == 64


def test_other_errors_of_the_model_are_not_hidden() -> None:
    def peak(count: int) -> float:
        raise RuntimeError(f"mat1 and mat2 shapes cannot be multiplied ({count}x3 and 4x10)")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fitting(peak, 1e9, 64, 1000)


class Flat(nn.Module):
    """Logits without an input gradient: constant, or of a threshold."""

    def __init__(self, threshold: bool) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(2))
        self.threshold = threshold

    def forward(self, images: Tensor) -> Tensor:
        means = images.flatten(1).mean(dim=1, keepdim=True)
        return (means > 0.5).float() * self.weights if self.threshold else torch.zeros(len(images), 2)


@pytest.mark.parametrize("threshold", [True, False])
def test_a_model_without_an_input_gradient_can_be_measured(threshold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    assert room._peak(Flat(threshold), torch.rand(1, 3, 4, 4), 2, torch.device("cpu")) == 7


def test_a_cpu_keeps_the_batch(make_linear: Callable[[], Any]) -> None:
    toy = make_linear()
    assert batch_size_for(toy.model, toy.images, 7) == 7


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_with_room_takes_more_and_a_small_share_of_it_does_not(make_linear: Callable[[], Any]) -> None:
    toy = make_linear()
    model = toy.model.to("cuda")
    images = toy.images[:1].expand(5000, *toy.images.shape[1:])
    assert batch_size_for(model, images, 8) == MOST
    assert batch_size_for(model, images, 8, share=1e-9) == 8
