from __future__ import annotations

import math

import torch

from bench.execute.calibrate import BATCH, calibrate
from bench.execute.speed import Network

TINY, LARGER = Network("wrn-10-1", (1, 8, 8)), Network("wrn-10-2", (3, 16, 16))


def test_more_work_takes_longer() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    told: list[Network] = []
    small, large = calibrate([TINY, LARGER], "cpu", 2.0, told.append)
    assert told == [TINY, LARGER]
    assert (small.network, large.network) == (TINY, LARGER)
    for found in (small, large):
        assert all(math.isfinite(value) for value in (found.forward, found.gradient, found.update))
        assert 0 < found.forward < found.gradient
        assert found.forward < found.update
    assert large.forward > 2 * small.forward
    assert 1 < small.batch <= BATCH["cpu"]
    # The caller's state is untouched.
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.rand(1), expected)


def test_little_time_makes_batches_small() -> None:
    (found,) = calibrate([Network("wrn-16-4", (3, 32, 32))], "cpu", 0.2)
    assert 1 <= found.batch < BATCH["cpu"]
