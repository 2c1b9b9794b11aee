"""Batch sizes that fill a GPU: closed forms of a memory that grows linearly with the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
    assert found == least or found < 2 * wanted
    assert found >= wanted or fixed + each * 2 * found > room * (1 - 1e-9)


def test_what_two_batches_need_is_measured_and_no_more() -> None:
    asked: list[int] = []

    def peak(count: int) -> float:
        asked.append(count)
        return 10.0 * count

    assert fitting(peak, 1e9, 64, 1000) == 1024
    assert asked == [64, 128]
    asked.clear()
    assert fitting(peak, 1e9, 64, 64) == 64
    assert asked == []


def test_a_gpu_that_has_no_room_to_measure_keeps_the_batch() -> None:
    def peak(count: int) -> float:
        raise torch.OutOfMemoryError(f"no room for {count}")

    assert fitting(peak, 1e9, 64, 1000) == 64


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
