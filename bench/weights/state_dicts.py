"""Finds state dicts in files, removes prefixes of wrappers from their names, and checks whether they fit a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.weights.unpickle import Stub, shown

__all__ = ["WRAPPERS", "misfit", "plain", "renamed"]

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
"""Keys under which checkpoints store a state dict, in order of preference."""
_SHOWN = 8


def plain(content: Any) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict in a file's content: the content itself, or under one of ``WRAPPERS``, nested at most three deep.

    Returns:
        Tensors by name, and a note on the key under which they were found, if any.

    Raises:
        ValueError: There is no state dict, or more than one.
    """
    place: list[str] = []
    for _ in range(len(WRAPPERS)):
        if not isinstance(content, Mapping):
            break
        if all(isinstance(value, Tensor) for value in content.values()):
            notes = (f"the state dict lay under {'.'.join(place)!r}",) if place else ()
            return {str(name): tensor for name, tensor in content.items()}, notes
        inner = [key for key in WRAPPERS if isinstance(content.get(key), Mapping | Stub)]
        if len(inner) > 1:
            raise ValueError(f"holds several state dicts, under {_names(inner)}; save one of them alone")
        if not inner:
            break
        place += inner
        content = content[inner[0]]
    at = f" under {'.'.join(place)!r}" if place else ""
    message = f"does not hold a plain state dict of tensors{at}"
    if isinstance(content, Stub):
        raise ValueError(f"{message}, but an object of class {content.stub_of}; save its state_dict()")
    if not isinstance(content, Mapping):
        raise ValueError(f"{message}, but a {type(content).__name__}")
    kept = [str(key) for key, value in content.items() if isinstance(value, Mapping) and _is_plain(value)]
    if kept:
        raise ValueError(f"{message}, but state dicts under {_names(kept)}; save one of them alone")
    name, value = next((key, value) for key, value in content.items() if not isinstance(value, Tensor))
    kind = value.stub_of if isinstance(value, Stub) else type(value).__name__
    raise ValueError(f"{message}: {shown(name)!r} is a {kind}; known wrappers are {', '.join(WRAPPERS)}")


def renamed(weights: Mapping[str, Tensor], own: Mapping[str, Any]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors by the names of a model, without the prefixes of ``DataParallel`` (``module.``) and ``torch.compile``
    (``_orig_mod.``). Prefixes that the model's own names have stay: of all ways to remove prefixes, this uses the one
    that gives most of the model's names, and among equals the one that removes least.

    Args:
        weights: Tensors by their names in the file.
        own: The state dict of the model.

    Returns:
        The tensors, and a note on the removed prefixes, if any.
    """
    best, taken = dict(weights), (0, False)
    for level in range(4):
        for compiled in (False, True):
            candidate = {_stripped(name, level, compiled): tensor for name, tensor in weights.items()}
            if len(candidate) == len(weights) and len(candidate.keys() & own) > len(best.keys() & own):
                best, taken = candidate, (level, compiled)
    words = [repr("module." * taken[0])] * (taken[0] > 0) + [repr("_orig_mod.")] * taken[1]
    return best, (f"{' and '.join(words)} taken off the names of the tensors",) if words else ()


def misfit(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """Why weights do not fit a model: missing or unknown names, other shapes or kinds of numbers; None if they fit.
    Values of tensors are not read, so that none is unpacked before it is known to fit.
    """
    problems = [f"{name} is missing" for name in own if name not in weights]
    problems += [f"{shown(name)} is unknown" for name in weights if name not in own]
    for name, expected in own.items():
        given = weights.get(name)
        if given is None:
            continue
        if given.shape != expected.shape:
            problems.append(f"{name} has shape {tuple(given.shape)}, expected {tuple(expected.shape)}")
        elif given.is_complex() or given.is_floating_point() != expected.is_floating_point():
            problems.append(f"{name} has type {given.dtype}, expected {expected.dtype}")
    if not problems:
        return None
    return "; ".join(problems[:_SHOWN]) + (f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else "")


def _stripped(name: str, level: int, compiled: bool) -> str:
    parts = [part for part in name.split(".") if not (compiled and part == "_orig_mod")]
    leading = 0
    while leading < level and leading < len(parts) - 1 and parts[leading] == "module":
        leading += 1
    return ".".join(parts[leading:])


def _is_plain(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _names(names: list[str]) -> str:
    return ", ".join(repr(shown(name)) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
