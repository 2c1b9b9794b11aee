"""A device that is none: its tensors hold real values in host memory and claim to lie elsewhere.

Code for GPUs runs on it to its end, with the numbers of a CPU and under the rules of CUDA. An operation that mixes its
tensors with CPU tensors is refused. A log counts what a GPU pays for, with the line of our code that asked for it:

- copies to the device and to the host;
- synchronisations: the host waits for the device. Values that Python reads (``item``, ``bool``, ``tolist``) need one,
  so do outputs whose shape depends on values (``nonzero``, indexing by a mask), and copies, except those to the device
  with ``non_blocking`` (CUDA stages pageable memory then and returns);
- kernels: operations that compute something. Views and allocations are none.

``lazy`` is a device type that torch knows and has no backend for: autograd runs its backward passes in the calling
thread, where the log sees them. What our code does only where a device is called ``cuda`` is not rehearsed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from tests.rehearsal.log import KERNEL, SYNC, TO_DEVICE, TO_HOST, Log, callers

__all__ = ["DEVICE", "Pretend", "rehearsed"]

DEVICE = torch.device("lazy")

_FREE = ("aten.empty", "aten.new_empty", "aten.detach", "aten.lift_fresh", "aten.alias")
"""Operators that compute nothing, beside views."""
_TAKES_A_NUMBER = ("aten.index_put", "aten.masked_fill", "aten.fill_")
"""Operators beside pointwise ones that take a CPU tensor without dimensions as a value."""


_logs: list[Log] = []
"""The logs of the blocks that are open, the innermost last."""


class Pretend(Tensor):
    """A tensor that claims to lie on ``DEVICE``; its values, and those of all its views, lie in one host tensor."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> Pretend:
        made: Pretend = torch.Tensor._make_wrapper_subclass(
            cls,
            host.size(),
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            layout=host.layout,
            device=DEVICE,
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Where torch sets modes aside, as it does to print; and after the block, when nobody counts.
        return _run(_logs[-1] if _logs else Log(), function, args, kwargs or {})

    def numpy(self, *, force: bool = False) -> Any:
        """Refused as on CUDA unless forced."""
        if not force:
            raise TypeError(
                f"can't convert {DEVICE.type} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to "
                "host memory first."
            )
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """Copies the tensor to the host, which torch does out of sight of a subclass."""
        return self.detach().cpu().tolist()

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_as_tensors(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _as_tensors(index)
        # A number becomes a CPU tensor on CUDA: a mask then fills, and an index of integers copies it and waits.
        if isinstance(value, bool | int | float) and any(isinstance(each, Tensor) for each in _listed(index)):
            value = torch.tensor(value, dtype=self.dtype)
        super().__setitem__(index, value)


# eagerpy, and with it foolbox, knows tensors by the module of their class.
Pretend.__module__ = "torch.pretend"


_GENERATOR = torch.Generator


class Generator(torch.Generator):
    """In the place of ``torch.Generator``, which knows none of ``DEVICE``: one of there claims to be so, and draws the
    numbers of a CPU generator of the same seed.
    """

    device: torch.device

    def __new__(cls, device: Any = "cpu") -> Generator:
        there = torch.device(device) == DEVICE
        made: Generator = _GENERATOR.__new__(DeviceGenerator if there else cls, "cpu" if there else device)
        return made


class DeviceGenerator(Generator):
    """A generator of ``DEVICE``."""

    @property
    def device(self) -> torch.device:
        """Where it claims to be."""
        return DEVICE


class _Dispatch(TorchDispatchMode):
    """Sees every operator, also without a tensor of the device among its arguments, as factories have none."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _asked(kwargs) or any(isinstance(leaf, Pretend) for leaf in tree_leaves((args, kwargs))):
            return _run(self.log, function, args, kwargs)
        return function(*args, **kwargs)


class _Calls(TorchFunctionMode):
    """Sees functions of Python that reach operators without device or generator."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        _check_generator(args, kwargs)
        if function in (torch.tensor, torch.as_tensor, torch.asarray) and _asked(kwargs):
            # As on CUDA: made on the host, and copied while the host waits.
            made = args[0] if isinstance(args[0], Pretend) else function(*args, **{**kwargs, "device": "cpu"})
            return made.to(DEVICE, kwargs.get("dtype"))
        return function(*args, **kwargs)


@contextmanager
def rehearsed() -> Iterator[Log]:
    """The device is there inside the block; its log is returned, and counts what happens inside."""
    log = Log()
    _logs.append(log)
    try:
        with mock.patch.object(torch, "Generator", Generator), _Calls(), _Dispatch(log):
            yield log
    finally:
        _logs.pop()


def _run(log: Log, function: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """Run an operator on the values, count what it costs, and refuse what CUDA refuses.

    Raises:
        RuntimeError: Tensors of both devices are mixed.
    """
    name = str(function)
    if name.startswith("aten._to_copy"):
        there = _asked(kwargs) if kwargs.get("device") is not None else isinstance(args[0], Pretend)
        _moved(log, name, isinstance(args[0], Pretend), there, bool(kwargs.get("non_blocking")))
        made = function(_host(args[0]), **{**kwargs, "device": torch.device("cpu"), "non_blocking": False})
        return Pretend(made) if there else made
    if name.startswith("aten.copy_"):
        asynchronous = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        _moved(log, name, isinstance(args[1], Pretend), isinstance(args[0], Pretend), asynchronous)
        _host(args[0]).copy_(_host(args[1]))
        return args[0]
    if name.startswith(("aten.index.Tensor", "aten.index_put")) and _lent_indices(args[1]):
        _moved(log, name, False, True, False)
        args = (args[0], [_claimed(index) for index in args[1]], *args[2:])
    _refuse_mixtures(function, name, args, kwargs)
    if name.startswith("aten.index_put") and not isinstance(args[2], Pretend) and not _fills(args):
        _moved(log, name, False, True, False)
    if _waits(function, name, args, kwargs):
        log.add(SYNC, name)
    if not function.is_view and not name.startswith(_FREE):
        log.add(KERNEL, name)
    here = {"device": torch.device("cpu")} if kwargs.get("device") is not None else {}
    made = function(*tree_map(_host, args), **{**tree_map(_host, kwargs), **here})
    return return_and_correct_aliasing(function, args, kwargs, tree_map(_claimed, made))


def _moved(log: Log, name: str, origin: bool, there: bool, asynchronous: bool) -> None:
    """Count a copy; ``origin`` and ``there`` say whether it starts and ends on the device."""
    if origin == there:
        log.add(KERNEL, name)
        return
    log.add(TO_DEVICE if there else TO_HOST, name)
    # A copy to pageable memory has ended when the call returns, whatever was asked for.
    if not (there and asynchronous):
        log.add(SYNC, name)


def _refuse_mixtures(function: Any, name: str, args: Any, kwargs: Mapping[str, Any]) -> None:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if not any(isinstance(tensor, Pretend) for tensor in tensors):
        return
    takes_a_number = torch.Tag.pointwise in function.tags or name.startswith(_TAKES_A_NUMBER)
    changed = args[0] if function._schema.is_mutable and isinstance(args[0], Tensor) else None
    strangers = [
        tuple(tensor.shape)
        for tensor in tensors
        if not isinstance(tensor, Pretend) and (tensor.dim() or not takes_a_number or tensor is changed)
    ]
    if strangers:
        caller, through = callers()
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE.type} and cpu: "
            f"{name} got CPU tensors of shape {', '.join(map(str, strangers))} "
            f"at {caller}{f' through {through}' if through else ''}"
        )


def _lent_indices(indices: Any) -> bool:
    """Whether a library indexes with CPU integers, or a list. CUDA copies them to the device and waits; from our own
    code that is a mixture.
    """
    return any(isinstance(index, Tensor) and not isinstance(index, Pretend) for index in indices) and callers()[1] != ""


def _waits(function: Any, name: str, args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether the host has to know values to go on."""
    if name.startswith("aten.index_put"):
        return any(map(_masks, args[1])) and not _fills(args)
    if name.startswith("aten.index.Tensor"):
        return any(map(_masks, args[1]))
    if name.startswith("aten.repeat_interleave"):
        return kwargs.get("output_size") is None
    return torch.Tag.data_dependent_output in function.tags or torch.Tag.dynamic_output_shape in function.tags


def _fills(args: Any) -> bool:
    """Whether ``index_put`` fills where one mask says so with a number of the host."""
    indices = [index for index in args[1] if index is not None]
    return len(indices) == 1 and _masks(indices[0]) and not isinstance(args[2], Pretend) and args[2].numel() == 1


def _masks(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _check_generator(args: Any, kwargs: Mapping[str, Any]) -> None:
    """Refuse a generator of another device than that of the numbers, as CUDA does.

    Raises:
        RuntimeError: It is of another device.
    """
    generator = kwargs.get("generator")
    if generator is None:
        return
    first = args[0] if args and isinstance(args[0], Tensor) else None
    place = first.device if first is not None else torch.device(kwargs.get("device") or "cpu")
    if place.type != generator.device.type:
        raise RuntimeError(
            f"Expected a {place.type!r} device type for generator but found {generator.device.type!r} at {callers()[0]}"
        )


def _asked(kwargs: Mapping[str, Any]) -> bool:
    device = kwargs.get("device")
    return device is not None and torch.device(device) == DEVICE


def _host(value: Any) -> Any:
    return value.host if isinstance(value, Pretend) else value


def _claimed(value: Any) -> Any:
    return Pretend(value) if isinstance(value, Tensor) and not isinstance(value, Pretend) else value


def _as_tensors(index: Any) -> Any:
    """An index with its lists and ranges as CPU tensors, as torch reads them before it copies them to the device."""
    if isinstance(index, list | range):
        return torch.tensor(index)
    return tuple(map(_as_tensors, index)) if isinstance(index, tuple) else index


def _listed(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)
