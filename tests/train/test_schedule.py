from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.optimizer import learning_rate
from bench.spec import TrainingConfig


def config(**values: Any) -> TrainingConfig:
    return TrainingConfig(**{"lr": 1e-4, "warmup": 1000, "decay_rate": 0.3, "decay_epochs": (30, 50, 80), **values})


@pytest.mark.parametrize(
    ("iteration", "lr"), [(0, 0.0), (1, 1e-7), (500, 5e-5), (999, 9.99e-5), (1000, 1e-4), (1001, 1e-4)]
)
def test_warm_up(iteration: int, lr: float) -> None:
    """Protocol 3.2, rule 1: while iteration <= 1000, lr = lr0 * iteration / 1000."""
    assert learning_rate(config(), iteration, 703) == pytest.approx(lr, rel=1e-12)


@pytest.mark.parametrize(("epoch", "before", "after"), [(30, 1, 0.3), (50, 0.3, 0.09), (80, 0.09, 0.027)])
def test_decays_begin_with_the_first_iteration_of_their_epoch(epoch: int, before: float, after: float) -> None:
    start = epoch * 703
    assert learning_rate(config(), start - 1, 703) == pytest.approx(before * 1e-4)
    assert learning_rate(config(), start, 703) == pytest.approx(after * 1e-4)
    assert learning_rate(config(), start + 1, 703) == pytest.approx(after * 1e-4)


def test_a_decay_in_the_warm_up_is_lost() -> None:
    """The original multiplies in place, and the next warm-up iteration overwrites it."""
    early = config(decay_epochs=(1, 4), warmup=100)
    assert learning_rate(early, 60, 30) == pytest.approx(0.6e-4)
    assert learning_rate(early, 101, 30) == pytest.approx(1e-4)
    assert learning_rate(early, 120, 30) == pytest.approx(0.3e-4)


@pytest.mark.parametrize(("warmup", "after"), [(59, 0.3e-4), (60, 1e-4), (61, 1e-4)])
def test_a_decay_at_the_end_of_the_warm_up(warmup: int, after: float) -> None:
    """Epoch 2 starts at iteration 60: lost if that iteration still belongs to the warm-up."""
    assert learning_rate(config(decay_epochs=(2,), warmup=warmup), 62, 30) == pytest.approx(after)


def test_without_warm_up_the_first_iteration_counts() -> None:
    assert learning_rate(config(warmup=0), 0, 703) == 1e-4
    assert learning_rate(config(warmup=0, decay_epochs=(0, 1)), 0, 10) == pytest.approx(0.3e-4)
    assert learning_rate(config(warmup=0, decay_epochs=(0, 1)), 10, 10) == pytest.approx(0.09e-4)


def reference(c: TrainingConfig, last: int, per_epoch: int) -> float:
    """The original's loop, literally: decay in place at the start of a listed epoch, warm-up overrides."""
    lr = c.lr
    for iteration in range(last + 1):
        if iteration % per_epoch == 0 and iteration // per_epoch in c.decay_epochs:
            lr *= c.decay_rate
        if c.warmup and iteration <= c.warmup:
            lr = c.lr * iteration / c.warmup
    return lr


@given(
    warmup=st.integers(0, 40),
    epochs=st.sets(st.integers(0, 9), max_size=4),
    per_epoch=st.integers(1, 9),
    iteration=st.integers(0, 80),
)
def test_it_is_the_loop_of_the_original(warmup: int, epochs: set[int], per_epoch: int, iteration: int) -> None:
    c = config(warmup=warmup, decay_epochs=tuple(sorted(epochs)))
    assert learning_rate(c, iteration, per_epoch) == pytest.approx(reference(c, iteration, per_epoch), rel=1e-12)


def test_an_epoch_that_is_listed_twice_decays_once() -> None:
    config = TrainingConfig(lr=1.0, warmup=0, decay_epochs=(2, 2, 3), decay_rate=0.5)
    assert [learning_rate(config, iteration, 10) for iteration in (19, 20, 30)] == [1.0, 0.5, 0.25]
