from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from bench_models.scaling import from_model, to_model


def test_the_ends_and_the_middle() -> None:
    assert torch.equal(to_model(torch.tensor([0.0, 0.5, 1.0])), torch.tensor([-1.0, 0.0, 1.0]))
    assert torch.equal(from_model(torch.tensor([-1.0, 0.0, 1.0])), torch.tensor([0.0, 0.5, 1.0]))


def test_training_noise_outside_the_box_keeps_its_size() -> None:
    assert torch.equal(to_model(torch.tensor([-0.25, 1.5])), torch.tensor([-1.5, 2.0]))


def test_what_a_sampler_left_outside_becomes_a_picture() -> None:
    assert torch.equal(from_model(torch.tensor([-3.0, 1.2])), torch.tensor([0.0, 1.0]))


@given(st.floats(0, 1, width=32))
def test_there_and_back(value: float) -> None:
    image = torch.tensor([value])
    assert torch.allclose(from_model(to_model(image)), image, atol=1e-7)
