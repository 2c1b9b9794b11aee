from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from bench_models.replay import Draw, ReplayBuffer
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from scipy import stats
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

SHAPE = (1, 2, 3)


def buffer(size: int = 40, num_classes: int = 4, seed: int = 0, **options: Any) -> ReplayBuffer:
    return ReplayBuffer(size, SHAPE, num_classes, seed=seed, device="cpu", **options)


def snapshot(b: ReplayBuffer) -> tuple[Tensor, Tensor, Tensor]:
    return b.images.clone(), b.labels.clone(), b.age.clone()


def assert_same(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def fields(draw: Draw) -> tuple[Tensor, ...]:
    return draw.indices, draw.images, draw.labels, draw.age


# --- initial state and partitions ---------------------------------------------------------------------------


def test_starts_as_noise_with_labels_aligned_to_partitions() -> None:
    b = buffer(1000, 10)
    assert torch.equal(b.labels, torch.arange(1000) // 100)
    assert (b.images.dtype, b.labels.dtype, b.age.dtype) == (torch.float32, torch.int64, torch.int32)
    assert b.images.shape == (1000, *SHAPE)
    assert not b.age.any()
    assert b.images.abs().max() <= 1
    assert stats.kstest(b.images.flatten().double().numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3


@settings(deadline=None, max_examples=60)
@given(num_classes=st.integers(1, 12), spare=st.integers(0, 40), seed=st.integers(0, 100))
def test_every_slot_has_a_class_and_draws_stay_in_their_partition(num_classes: int, spare: int, seed: int) -> None:
    size = num_classes + spare
    b = buffer(size, num_classes, seed)
    counts = torch.bincount(b.labels, minlength=num_classes)
    assert counts.max() - counts.min() <= 1
    assert (b.labels.diff() >= 0).all()
    wanted = torch.arange(50) % num_classes
    draw = b.draw(50, seed=0, labels=wanted, reinit=0.5)
    assert torch.equal(draw.labels, wanted)
    assert torch.equal(b.labels[draw.indices], wanted)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("size", [20, 23])
def test_slots_are_drawn_uniformly(size: int, conditional: bool) -> None:
    n = 8000
    b = buffer(size)
    labels = torch.arange(n) % 4 if conditional else None
    counts = torch.bincount(b.draw(n, seed=0, labels=labels).indices, minlength=size).double()
    share = (
        1 / (4 * torch.bincount(b.labels)[b.labels]).double()
        if conditional
        else torch.full((size,), 1 / size, dtype=torch.float64)
    )
    # Conditional counts vary within fixed class totals: less than the chi-square of size - 1 degrees.
    assert stats.chisquare(counts.numpy(), (n * share).numpy()).pvalue > 1e-3
    assert counts.min() > 0


# --- draw ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("conditional", [False, True])
def test_kept_rows_come_from_the_buffer_and_fresh_rows_are_noise(conditional: bool) -> None:
    b = buffer()
    b.age.fill_(7)
    b.images.add_(10)
    b.labels.copy_(b.labels.flip(0))
    before = snapshot(b)
    wanted = torch.arange(500) % 4
    draw = b.draw(500, seed=0, labels=wanted if conditional else None, reinit=0.3)
    assert_same(snapshot(b), before)
    fresh = draw.age == 0
    assert 0 < fresh.sum() < 500
    assert torch.equal(draw.images[~fresh], b.images[draw.indices[~fresh]])
    assert (draw.age[~fresh] == 7).all()
    assert draw.images[fresh].abs().max() <= 1
    assert len(set(draw.images[fresh].flatten().tolist())) > 0.99 * draw.images[fresh].numel()
    if conditional:
        assert torch.equal(draw.labels, wanted)
    else:
        assert torch.equal(draw.labels[~fresh], b.labels[draw.indices[~fresh]])
        counts = torch.bincount(draw.labels[fresh], minlength=4)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-3
        assert (draw.labels[fresh] != b.labels[draw.indices[fresh]]).any()


@pytest.mark.parametrize("conditional", [False, True])
def test_new_chains_come_from_the_given_distribution_for_their_labels(conditional: bool) -> None:
    """Here: the label in every pixel, and a thousandth of standard normal noise."""
    b = ReplayBuffer(
        20,
        SHAPE,
        4,
        seed=0,
        device="cpu",
        start=lambda noise, labels: labels.view(-1, 1, 1, 1) + noise / 1000,
    )
    assert torch.equal(b.images.round().flatten(1), b.labels[:, None].expand(20, 6).float())
    b.images.fill_(-9)
    wanted = torch.arange(2000) % 4
    draw = b.draw(2000, seed=0, labels=wanted if conditional else None, reinit=0.5)
    fresh = draw.images.flatten(1)[:, 0] > -5
    assert 800 < fresh.sum() < 1200
    assert (draw.images[~fresh] == -9).all()
    noise = (draw.images[fresh] - draw.labels[fresh].view(-1, 1, 1, 1)).flatten() * 1000
    assert stats.kstest(noise.numpy(), "norm").pvalue > 1e-3
    if conditional:
        assert torch.equal(draw.labels, wanted)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("reinit", [0.025, 0.05, 0.5])
def test_reinit_frequency(reinit: float, conditional: bool) -> None:
    n = 20_000
    b = buffer()
    b.age.fill_(1)
    labels = torch.zeros(n, dtype=torch.int64) if conditional else None
    fresh = int((b.draw(n, seed=0, labels=labels, reinit=reinit).age == 0).sum())
    assert abs(fresh - n * reinit) < 5 * math.sqrt(n * reinit * (1 - reinit))


def test_reinit_never_and_always() -> None:
    b = buffer()
    b.age.fill_(1)
    assert (b.draw(1000, seed=0, reinit=0.0).age == 1).all()
    assert (b.draw(1000, seed=0, reinit=1.0).age == 0).all()


def test_draws_do_not_share_memory_with_the_buffer() -> None:
    b = buffer()
    before = snapshot(b)
    draw = b.draw(50, seed=0, reinit=0.0)
    draw.images.add_(1)
    draw.labels.add_(1)
    draw.age.add_(1)
    assert_same(snapshot(b), before)


@pytest.mark.parametrize("conditional", [False, True])
def test_a_draw_depends_on_its_seed_row_and_buffer_alone(conditional: bool) -> None:
    b, wanted = buffer(), torch.arange(30) % 4 if conditional else None
    first = fields(b.draw(30, seed=5, labels=wanted, reinit=0.5))
    b.draw(7, seed=6)
    assert_same(fields(b.draw(30, seed=5, labels=wanted, reinit=0.5)), first)
    fewer = fields(b.draw(8, seed=5, labels=None if wanted is None else wanted[:8], reinit=0.5))
    assert_same(fewer, tuple(values[:8] for values in first))
    assert not torch.equal(b.draw(30, seed=6, labels=wanted, reinit=0.5).indices, first[0])


def test_what_a_draw_decides_is_independent() -> None:
    """Slots, restarts and classes use other numbers."""
    b = buffer(16, 16)
    b.age.fill_(1)
    draw = b.draw(60_000, seed=1, reinit=0.25)
    fresh = draw.age == 0
    for values in (draw.indices, draw.labels[fresh]):
        assert stats.chisquare(torch.bincount(values, minlength=16).numpy()).pvalue > 1e-3
    table = torch.stack([torch.bincount(draw.indices[fresh == kind], minlength=16) for kind in (False, True)])
    assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3
    pairs = torch.bincount(draw.indices[fresh] * 16 + draw.labels[fresh], minlength=256).reshape(16, 16)
    assert stats.chi2_contingency(pairs.numpy()).pvalue > 1e-3


# --- write-back ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1000), size=st.integers(4, 12), conditional=st.booleans(), rounds=st.integers(1, 4))
def test_write_back_is_one_row_after_the_other(seed: int, size: int, conditional: bool, rounds: int) -> None:
    b = buffer(size, seed=seed)
    images, labels, age = snapshot(b)
    for step in range(rounds):
        wanted = torch.arange(20) * 7 % 4 if conditional else None
        draw = b.draw(20, seed=100 * seed + step, labels=wanted, reinit=0.3)
        assert len(set(draw.indices.tolist())) < 20
        advanced = draw.images + torch.arange(20)[:, None, None, None] + 100 * step
        age_before = age.clone()
        b.write_back(draw, advanced)
        for row, slot in enumerate(draw.indices.tolist()):
            images[slot] = advanced[row]
            labels[slot] = draw.labels[row]
            age[slot] = 1 if draw.age[row] == 0 else age_before[slot] + 1
        assert_same(snapshot(b), (images, labels, age))
    if conditional:
        assert torch.equal(b.labels, buffer(size).labels)


class ReversedAssignment(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Index assignment from the last row to the first: one of the orders that parallel kernels may take."""

    used = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.index_put_.default:
            target, (indices,), values = args
            args = (target, [indices.flip(0)], values.flip(0))
            self.used += 1
        return func(*args, **(kwargs or {}))


def test_last_duplicate_wins_whatever_the_order_of_assignment() -> None:
    forwards, backwards = buffer(5), buffer(5)
    forwards.age.copy_(torch.arange(5))
    backwards.age.copy_(torch.arange(5))
    with ReversedAssignment() as mode:  # type: ignore[no-untyped-call]
        plain = torch.zeros(2)
        plain[torch.tensor([0, 0])] = torch.tensor([1.0, 2.0])
        assert plain[0] == 1  # without care the first row wins here
        mode.used = 0
        draw = backwards.draw(30, seed=0, reinit=0.5)
        backwards.write_back(draw, draw.images + torch.arange(30)[:, None, None, None])
    assert mode.used == 3
    draw = forwards.draw(30, seed=0, reinit=0.5)
    forwards.write_back(draw, draw.images + torch.arange(30)[:, None, None, None])
    assert_same(snapshot(backwards), snapshot(forwards))


def test_age_counts_updates_since_noise() -> None:
    b = buffer(4, 1)
    slots = torch.arange(4)

    def update(age: list[int]) -> None:
        b.write_back(Draw(slots, b.images.clone(), b.labels.clone(), torch.tensor(age, dtype=torch.int32)), b.images)

    update(b.age.tolist())
    assert b.age.tolist() == [1, 1, 1, 1]
    update([1, 0, 1, 0])
    assert b.age.tolist() == [2, 1, 2, 1]
    update(b.age.tolist())
    assert b.age.tolist() == [3, 2, 3, 2]


def test_write_back_keeps_no_graph_and_takes_other_layouts() -> None:
    b = buffer()
    storage = b.images.data_ptr()
    draw = b.draw(6, seed=0)
    advanced = (draw.images.double() * 2).requires_grad_().to(memory_format=torch.channels_last)
    b.write_back(draw, advanced * 1)
    assert not b.images.requires_grad
    assert b.images.data_ptr() == storage
    row = int(torch.nonzero(draw.indices == draw.indices[0]).max())
    torch.testing.assert_close(b.images[draw.indices[0]], advanced[row].detach().float())


def test_nothing_waits_for_the_device() -> None:
    # Meta tensors have shapes and no values: reading one on the host raises.
    b = ReplayBuffer(41, SHAPE, 4, seed=0, device="meta")
    for labels in (None, torch.empty(6, dtype=torch.int64, device="meta")):
        draw = b.draw(6, seed=0, labels=labels)
        b.write_back(draw, draw.images)
    assert b.images.is_meta
    assert b.labels.shape == (41,)


# --- state --------------------------------------------------------------------------------------------------


def test_state_continues_to_the_bit_through_a_file() -> None:
    b = buffer(seed=1)
    b.write_back(draw := b.draw(30, seed=0), draw.images + 1)
    stored = save(b.state_dict())
    after = snapshot(b)
    expected = [fields(b.draw(9, seed=0)), fields(b.draw(9, seed=0, labels=torch.arange(9) % 4))]
    other = buffer(seed=2)
    pointer = other.images.data_ptr()
    other.load_state_dict(load(stored))
    assert other.images.data_ptr() == pointer
    assert_same(snapshot(other), after)
    assert_same(fields(other.draw(9, seed=0)), expected[0])
    assert_same(fields(other.draw(9, seed=0, labels=torch.arange(9) % 4)), expected[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": torch.zeros(39, *SHAPE)}, "'images' must be torch.float32 of shape"),
        ({"age": torch.zeros(40, dtype=torch.int64)}, "'age' must be torch.int32"),
        ({"labels": torch.full((40,), 4)}, r"'labels' has values outside \[0, 4\)"),
        ({"labels": torch.full((40,), -1)}, r"'labels' has values outside \[0, 4\)"),
        ({"age": torch.full((40,), -1, dtype=torch.int32)}, "'age' has negative values"),
        ({"extra": torch.zeros(1)}, "a buffer state has the keys"),
    ],
)
def test_a_wrong_state_is_refused_whole(change: dict[str, Tensor], message: str) -> None:
    b, twin = buffer(seed=1), buffer(seed=1)
    with pytest.raises(ValueError, match=message):
        b.load_state_dict({**buffer(seed=2).state_dict(), **change})
    assert_same(snapshot(b), snapshot(twin))
    assert_same(fields(b.draw(5, seed=0)), fields(twin.draw(5, seed=0)))


# --- wrong arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "shape", "num_classes", "options", "message"),
    [
        (3, SHAPE, 4, {}, r"at least the number of classes \(4\).*got 3"),
        (4, SHAPE, 0, {}, "num_classes must be at least 1"),
        (4, (1, 0, 3), 4, {}, r"image_shape must be \(C, H, W\), all positive"),
    ],
)
def test_errors_of_construction(
    size: int, shape: tuple[int, int, int], num_classes: int, options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ReplayBuffer(size, shape, num_classes, seed=0, device="cpu", **options)


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [
        (0, {}, "n must be at least 1"),
        (3, {"reinit": 1.5}, "reinit is a probability"),
        (3, {"reinit": math.nan}, "reinit is a probability"),
        (3, {"labels": torch.zeros(2, dtype=torch.int64)}, r"labels must have shape \(3,\)"),
        (3, {"labels": torch.zeros(3)}, "labels must be integers"),
        (3, {"labels": torch.tensor([0, 1, -1])}, r"labels must be in \[0, 4\), got -1 to 1"),
        (3, {"labels": torch.tensor([0, 4, 1])}, r"labels must be in \[0, 4\), got 0 to 4"),
    ],
)
def test_errors_of_draw(n: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        buffer().draw(n, seed=0, **options)


def test_images_must_fit_the_draw() -> None:
    b = buffer()
    with pytest.raises(ValueError, match="images must have the shape of the draw"):
        b.write_back(b.draw(4, seed=0), torch.zeros(3, *SHAPE))
