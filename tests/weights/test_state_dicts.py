"""State dicts as people save them, with prefixes and under keys; and files that hold none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from bench.errors import BenchError
from bench.files.tensors import save_tensors
from bench.weights.module_family import load_into

if TYPE_CHECKING:
    pass


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
@pytest.mark.parametrize(
    ("wrapper", "ending"),
    [(None, ".safetensors"), *((name, ".pt") for name in (None, "state_dict", "model", "model_state_dict", "net"))],
)
def test_state_dicts_as_people_save_them(tmp_path: Path, prefix: str, wrapper: str | None, ending: str) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    given = {f"{prefix}{name}": torch.rand_like(tensor) for name, tensor in network.state_dict().items()}
    path = tmp_path / f"a{ending}"
    if ending == ".pt":
        torch.save({wrapper: given, "epoch": 3, "best": 0.5} if wrapper else given, path)
    else:
        save_tensors(path, given)
    notes = load_into(network, path, "mine")
    assert all(torch.equal(given[f"{prefix}{name}"], tensor) for name, tensor in network.state_dict().items())
    assert any("taken off the names" in note for note in notes)
    assert any(f"the state dict lay under {wrapper!r}" in note for note in notes) == bool(wrapper)


def test_a_module_that_calls_a_part_of_itself_module(tmp_path: Path) -> None:
    """What looks like a prefix of a wrapper is a name of its own: with and without one before it."""
    network = nn.ModuleDict({"module": nn.Linear(2, 2)})
    for prefix in ("", "module."):
        given = {f"{prefix}{name}": torch.rand_like(tensor) for name, tensor in network.state_dict().items()}
        torch.save(given, tmp_path / "a.pt")
        notes = load_into(network, tmp_path / "a.pt", "mine")
        assert torch.equal(network.state_dict()["module.weight"], given[f"{prefix}module.weight"])
        assert len(notes) == bool(prefix)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"a": torch.zeros(1)}, "net": {"a": torch.ones(1)}}, "several state dicts, under 'model', 'net'"),
        ({"ema": {"a": torch.zeros(1)}, "epoch": 3}, "state dicts under 'ema'; save one of them alone"),
        ({"epoch": 3}, "'epoch' is a int; known wrappers are state_dict"),
        ({"model": nn.Linear(1, 1)}, "under 'model', but an object of class torch.nn.modules.linear.Linear; save its"),
        (nn.Linear(1, 1), "but an object of class torch.nn.modules.linear.Linear; save its state_dict()"),
        (torch.zeros(3), "but a Tensor"),
        ({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, "does not fit 'mine': "),
        ({"wieght": torch.zeros(3, 2), "bias": torch.zeros(3)}, "wieght"),
        ({f"{i}{'x' * 500}": torch.zeros(1) for i in range(400)}, "does not fit 'mine': "),
    ],
)
def test_state_dicts_that_are_not_understood_say_so(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BenchError) as caught:
        load_into(nn.Linear(2, 3), tmp_path / "a.pt", "mine")
    assert message in str(caught.value)
    assert str(tmp_path / "a.pt") in str(caught.value)
    assert len(str(caught.value)) < 2500


def test_a_state_dict_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import os
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    torch.save({"weight": Trap()}, tmp_path / "a.pt")
    with pytest.raises((BenchError, pickle.UnpicklingError)):
        load_into(nn.Linear(2, 3), tmp_path / "a.pt", "mine")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}])
def test_what_is_no_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BenchError, match="does not hold a plain state dict"):
        load_into(nn.Linear(2, 3), tmp_path / "a.pt", "mine")
