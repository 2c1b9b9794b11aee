"""Global generators: seeded inside, the caller's afterwards, and a state that can be saved."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from bench.rng import Generators, preserved, seeded


def draws() -> list[float]:
    """The next numbers of every global generator; odd counts of normals leave half a pair in waiting."""
    return [
        random.random(),
        random.gauss(0, 1),
        float(np.random.rand()),  # noqa: NPY002
        float(np.random.randn()),  # noqa: NPY002
        float(torch.rand(())),
        float(torch.randn(())),
    ]


@pytest.fixture(autouse=True)
def the_generators_of_other_tests() -> Any:
    with preserved():
        yield


def test_a_seed_gives_the_same_numbers_whatever_was_drawn_before() -> None:
    with seeded(7):
        first = draws()
    draws()
    with seeded(7):
        assert draws() == first
    with seeded(8):
        other = draws()
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_it_seeds_torch_as_torch_does() -> None:
    """Initial weights of before this module existed have been drawn so."""
    generator = torch.Generator().manual_seed(2**62 + 5)
    with seeded(2**62 + 5):
        assert torch.equal(torch.rand(9), torch.rand(9, generator=generator))


@pytest.mark.parametrize("inside", [preserved, lambda: seeded(3)], ids=["preserved", "seeded"])
def test_the_callers_generators_are_as_they_were(inside: Callable[[], Any]) -> None:
    with seeded(1):
        draws()
        expected = draws()
    with seeded(1):
        draws()
        with inside():
            draws()
        with pytest.raises(AssertionError), inside():
            assert draws() == []
        assert draws() == expected


def test_cuda_that_starts_later_has_the_callers_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it starts it keeps the seed that it was given last."""
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(11)
    with seeded(3):
        assert seeds[-1] == 3
    assert seeds[-1] == 11


def test_generators_go_on_where_they_stopped() -> None:
    own = Generators(5, torch.device("cpu"))
    with own.at_work():
        first = draws()
    between = draws()
    with own.at_work():
        second = draws()
    with seeded(5):
        assert [draws(), draws()] == [first, second]
    assert between not in (first, second)


def test_a_state_is_put_back_at_work_and_at_rest() -> None:
    own, other = Generators(5, torch.device("cpu")), Generators(6, torch.device("cpu"))
    with own.at_work():
        draws()
        live = {name: tensor.clone() for name, tensor in own.state_dict().items()}
        expected = draws()
        own.load_state_dict(live)
        assert draws() == expected
    other.load_state_dict(live)
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in live.items())
    with other.at_work():
        assert draws() == expected


@pytest.mark.parametrize("at_work", [False, True])
def test_they_can_be_seeded_anew(at_work: bool) -> None:
    own = Generators(5, torch.device("cpu"))
    if not at_work:
        own.seed(9)
    with own.at_work():
        if at_work:
            draws()
            own.seed(9)
        found = draws()
    with seeded(9):
        assert draws() == found
