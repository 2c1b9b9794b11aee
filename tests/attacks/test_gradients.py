from __future__ import annotations

import pytest
import torch

from bench.attacks.gradients import finite, largest


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_finite_gradient_is_passed_on_with_its_size(layout: torch.memory_format) -> None:
    gradient = torch.randn(3, 2, 4, 4).contiguous(memory_format=layout)
    found, size = finite(gradient)
    assert found is gradient
    assert torch.equal(size, gradient.flatten(1).abs().amax(dim=1))
    assert torch.equal(largest(gradient), size)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_zero_and_nothing_else_changes(bad: float) -> None:
    gradient = torch.randn(3, 2, 4, 4)
    broken = gradient.clone()
    broken[1, 0, 2, 3] = bad
    found, size = finite(broken)
    expected = gradient.clone()
    expected[1, 0, 2, 3] = 0
    assert torch.equal(found, expected)
    assert torch.equal(size, largest(expected))
