from __future__ import annotations

import pytest
import torch

from bench.attacks.gradients import finite, largest, steepest, true_probability


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


@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_the_steepest_direction_has_norm_one_however_small_the_gradient(scale: float) -> None:
    gradient = torch.tensor([[3.0, -4.0], [0.0, 0.0]]).view(2, 1, 1, 2) * scale
    assert steepest(gradient, "linf").flatten(1).tolist() == [[1, -1], [0, 0]]
    torch.testing.assert_close(steepest(gradient, "l2").flatten(1), torch.tensor([[0.6, -0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("number_type", [torch.float32, torch.float64, torch.bfloat16])
def test_the_probability_of_the_label_is_that_of_float32(number_type: torch.dtype) -> None:
    logits = torch.tensor([[0.0, 1.0], [60.0, 0.0]], dtype=number_type)
    found = true_probability(logits, torch.tensor([1, 0]))
    assert found.dtype == number_type
    expected = torch.tensor([1 / (1 + torch.tensor(-1.0).exp()), 1.0]).to(number_type)
    torch.testing.assert_close(found, expected)
    assert found[1] == 1
