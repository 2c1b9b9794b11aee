"""The device itself: values, views, generators, and what it refuses and counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks.gradients import finite, steepest
from tests.rehearsal.device import DEVICE, rehearsed
from tests.rehearsal.log import KERNEL, SYNC, TO_DEVICE, TO_HOST, Log


def counted(log: Log) -> tuple[int, int, int]:
    """Copies to the device, copies to the host, synchronisations."""
    return log.count(TO_DEVICE), log.count(TO_HOST), log.count(SYNC)


def grid() -> Tensor:
    return torch.arange(6.0).view(2, 3)


def test_a_change_in_place_is_seen_through_every_view() -> None:
    with rehearsed():
        x = grid().to(DEVICE)
        x[0].mul_(2)
        x.t()[0, 1] = 7
        x.view(-1)[5:].add_(1)
        assert x.cpu().tolist() == [[0, 2, 4], [7, 4, 6]]
        y = torch.zeros(3, device=DEVICE)
        assert y.unsqueeze_(0).shape == (1, 3)
        assert y.add(1).shape == (1, 3)


def test_gradients_flow_through_changed_views() -> None:
    with rehearsed():
        x = grid().to(DEVICE).requires_grad_()
        y = x * 1
        y[0].mul_(3)
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.device == DEVICE
        assert x.grad.tolist() == [[3, 3, 3], [1, 1, 1]]


def test_a_generator_belongs_to_its_device() -> None:
    with rehearsed():
        there, here = torch.Generator(DEVICE).manual_seed(1), torch.Generator().manual_seed(1)
        drawn = torch.rand(5, generator=there, device=there.device)
        assert drawn.device == DEVICE
        assert torch.equal(drawn.cpu(), torch.rand(5, generator=here))
        state = there.get_state()
        again = [torch.randperm(4, generator=there, device=DEVICE).tolist() for _ in range(2) if there.set_state(state)]
        assert again[0] == again[1]
        with pytest.raises(RuntimeError, match="Expected a 'cpu' device type for generator but found 'lazy'"):
            torch.rand(3, generator=there)
        with pytest.raises(RuntimeError, match="Expected a 'lazy' device type for generator but found 'cpu'"):
            torch.rand(3, generator=here, device=DEVICE)
        assert isinstance(here, torch.Generator)
        assert isinstance(there, torch.Generator)
    assert torch.Generator().device.type == "cpu"


MIXTURES: dict[str, Callable[[Tensor], object]] = {
    "sum": lambda x: x + torch.ones(3),
    "in place": lambda x: torch.zeros(2, 3).add_(x),
    "changed scalar": lambda x: torch.zeros(()).add_(x.sum()),
    "join": lambda x: torch.cat([x, torch.ones(2, 3)]),
    "scalars joined": lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
    "product": lambda x: x @ torch.ones(3, 2),
    "index of the host": lambda x: x[torch.tensor([0])],
    "list as an index": lambda x: x[[0, 1]],
    "index of the device": lambda x: torch.ones(9)[x[0].long()],
    "mask": lambda x: torch.where(torch.ones(2, 3) > 0, x, 0.0),
}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_mixtures_of_devices_are_refused_with_the_line_that_made_them(mixture: str) -> None:
    with rehearsed():
        x = grid().to(DEVICE)
        with pytest.raises(RuntimeError, match=r"at least two devices, lazy and cpu: aten\..* at test_device.py:\d+"):
            MIXTURES[mixture](x)


def test_a_number_of_the_host_may_take_part() -> None:
    with rehearsed() as log:
        x = grid().to(DEVICE)
        log.clear()
        found = [x * torch.tensor(2.0), torch.where(x > 2, x, torch.tensor(0.0)), x.masked_fill(x > 2, 1.0)]
        assert counted(log) == (0, 0, 0)
        assert found[1].tolist() == [[0, 0, 0], [3, 4, 5]]


def test_numpy_refuses_as_on_a_gpu() -> None:
    with rehearsed() as log:
        x = grid().to(DEVICE)
        for convert in (lambda x: x.numpy(), np.asarray):
            with pytest.raises(TypeError, match=r"Use Tensor\.cpu"):
                convert(x)
        log.clear()
        assert np.array_equal(x.numpy(force=True), grid().numpy())
        assert counted(log) == (0, 1, 1)


COSTS: dict[str, tuple[Callable[[Tensor], object], tuple[int, int, int]]] = {
    "item": (lambda x: x.sum().item(), (0, 0, 1)),
    "float": (lambda x: float(x[0, 0]), (0, 0, 1)),
    "bool": (lambda x: bool((x > 1).any()), (0, 0, 1)),
    "tolist": (lambda x: x.tolist(), (0, 1, 1)),
    "cpu": (lambda x: x.cpu(), (0, 1, 1)),
    "copy to the host": (lambda x: torch.empty(2, 3).copy_(x), (0, 1, 1)),
    "print": (repr, (0, 1, 1)),
    "nonzero": (lambda x: x.nonzero(), (0, 0, 1)),
    "mask as an index": (lambda x: x[x > 1], (0, 0, 1)),
    "assignment by a mask": (lambda x: x.__setitem__(x > 1, x[0, 0]), (0, 0, 1)),
    "number by a mask": (lambda x: x.__setitem__(x > 1, 0.0), (0, 0, 0)),
    "number by an index": (lambda x: x.__setitem__(torch.zeros(1, dtype=torch.long, device=DEVICE), 3.0), (1, 0, 1)),
    "number in a row": (lambda x: x.__setitem__(0, 3.0), (0, 0, 0)),
    "blocking copy": (lambda _: grid().to(DEVICE), (1, 0, 1)),
    "copy in the background": (lambda _: grid().to(DEVICE, non_blocking=True), (1, 0, 0)),
    "tensor of a number": (lambda _: torch.tensor(3.0, device=DEVICE), (1, 0, 1)),
    "filled": (lambda _: torch.full((), 3.0, device=DEVICE), (0, 0, 0)),
    "move to where it is": (lambda x: x.to(DEVICE), (0, 0, 0)),
    "arithmetic": (lambda x: (x.exp() @ x.t()).double().argmax(), (0, 0, 0)),
}


@pytest.mark.parametrize("cost", COSTS)
def test_what_a_gpu_pays_for_is_counted(cost: str) -> None:
    operation, expected = COSTS[cost]
    with rehearsed() as log:
        x = grid().to(DEVICE)
        log.clear()
        operation(x)
        assert counted(log) == expected, str(log.events)


def test_views_and_allocations_are_no_kernels() -> None:
    with rehearsed() as log:
        x = torch.empty(2, 3, device=DEVICE)
        x.t()[0].unsqueeze(0).detach()
        assert log.count(KERNEL) == 0
        x.add_(1)
        assert log.count(KERNEL) == 1


def test_an_event_names_the_line_of_our_code() -> None:
    with rehearsed() as log:
        gradient = torch.randn(2, 1, 2, 2, device=DEVICE)
        log.clear()
        finite(gradient)
        steepest(gradient, "l2")
        assert log.count(KERNEL, "bench/attacks/gradients.py:") == log.count(KERNEL) > 5


def test_a_module_moves_trains_and_keeps_its_layout() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.0))
    with rehearsed() as log:
        model = layers.to(device=DEVICE, memory_format=torch.channels_last)
        weight = model[0].weight
        assert isinstance(weight, nn.Parameter)
        assert weight.device == DEVICE
        assert weight.is_contiguous(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters())
        before = weight.detach().clone()
        images = torch.rand(2, 3, 8, 8, device=DEVICE)
        log.clear()
        model(images).square().sum().backward()
        optimizer.step()
        assert counted(log) == (0, 0, 0)
        assert not torch.equal(before, weight.detach())
