"""Measures how fast networks run on a device, as workers run them: half a minute instead of a guess."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.execute.devices import check_cuda
from bench.execute.speed import Network, Speed
from bench.registry import import_object
from bench.spec import BACKBONES

__all__ = ["BATCH", "calibrate"]

BATCH = {"cpu": 64, "cuda": 256}
"""Images in a batch, halved while the share of a network in the time would not allow three batches."""
_CLASSES = 10
_REPETITIONS = 3


def calibrate(
    networks: Sequence[Network],
    device: str,
    seconds: float,
    told: Callable[[Network], None] = lambda _: None,
) -> list[Speed]:
    """Measure a forward pass, an input gradient and a training update of each network, in float32.

    On a CPU one thread is used, and CPU time is measured, which is the time on an idle core. On a GPU the wall time is
    measured, with TF32 off. Networks have the memory layout in which workers use them.

    Args:
        networks: What to measure.
        device: ``"cpu"`` or ``"cuda:<i>"``.
        seconds: Time for all together. Each network takes at least three small batches of each kind, so networks of
            more than a second per image may take longer.
        told: Called before each network.

    Raises:
        PrerequisiteError: The GPU does not start.
    """
    check_cuda(device)
    share = seconds / max(len(networks), 1)
    found = []
    with _as_in_workers(device):
        for network in networks:
            told(network)
            found.append(_speed(network, device, share))
    return found


@contextmanager
def _as_in_workers(device: str) -> Iterator[None]:
    """One thread on a CPU and no TF32 on a GPU, as `bench.execute.worker.main` sets them; restored afterwards."""
    threads = torch.get_num_threads()
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        if device == "cpu":
            torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


def _speed(network: Network, device: str, seconds: float) -> Speed:
    model, images, labels = _made(network, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def forward(n: int) -> None:
        with torch.no_grad():
            model(images[:n])

    def gradient(n: int) -> None:
        model.requires_grad_(requires_grad=False)
        points = images[:n].detach().requires_grad_()
        loss = functional.cross_entropy(model(points), labels[:n], reduction="sum")
        torch.autograd.grad(loss, points)
        model.requires_grad_(requires_grad=True)

    def update(n: int) -> None:
        optimizer.zero_grad()
        torch.autograd.backward(functional.cross_entropy(model(images[:n]), labels[:n]))
        optimizer.step()

    batch = _fitting(update, len(images), device, seconds / 2)
    # By turns, so that a disturbance of the machine does not meet one of them alone.
    times: dict[Callable[[int], None], list[float]] = {forward: [], gradient: [], update: []}
    for work in times:
        work(batch)  # the first call chooses kernels and takes memory
    end = time.monotonic() + seconds / 2
    while time.monotonic() < end or len(times[update]) < _REPETITIONS:
        for work, took in times.items():
            took.append(_timed(lambda work=work: work(batch), device))  # type: ignore[misc]
    each = [median(took) / batch for took in times.values()]
    return Speed(network=network, batch=batch, forward=each[0], gradient=each[1], update=each[2])


def _made(network: Network, device: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with a linear head, images and labels, on the device and in the layout of workers."""
    spec = BACKBONES.get(network.backbone)
    make: Any = import_object(spec.implementation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone: Any = make(spec.name, network.image_shape[0])
        model = nn.Sequential(backbone, nn.Linear(int(backbone.feature_dim), _CLASSES))
        images = torch.rand(BATCH[device.partition(":")[0]], *network.image_shape)
    labels = torch.arange(len(images)) % _CLASSES
    layout = torch.channels_last
    moved: nn.Module = model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    return moved, images.to(device).contiguous(memory_format=layout), labels.to(device)


def _fitting(update: Callable[[int], None], largest: int, device: str, seconds: float) -> int:
    """The largest batch, halved from ``largest``, of which the measurement fits into a time as far as one can tell."""
    trial = min(4, largest)
    update(trial)
    each = _timed(lambda: update(trial), device) / trial
    batch = largest
    # An update takes three passes; with a forward pass and a gradient, six.
    while batch > 1 and (_REPETITIONS + 1) * 2 * each * batch > seconds:
        batch //= 2
    return batch


def _timed(work: Callable[[], None], device: str) -> float:
    """Seconds of a piece of work: CPU time, or on a GPU wall time until the device has done it."""
    if device == "cpu":
        began = time.process_time()
        work()
        return time.process_time() - began
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - began
