"""Whole trainings in bfloat16, and on a GPU."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data.splits import Splits
from bench.spec import PRESETS_OF_ALL
from bench.train import checkpoint
from bench.train.loop import Trainer, TrainingInterrupted
from bench.train.snapshot import capture

SAMPLER = {"steps": 2, "buffer": 50, "reinit": 0.1}
FAMILIES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "jem": {"sampler": SAMPLER},
    "gmmc-dis": {},
    "mmc": {"lr": 1e-3},
    "gmmc-gen": {"sampler": SAMPLER},
    "gmmc-joint": {"sampler": SAMPLER, "start_generative": 1},
    "igebm-conditional": {"sampler": SAMPLER},
}

slow = functools.partial(pytest.param, marks=pytest.mark.slow)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def tensors(trainer: Trainer) -> dict[str, Tensor]:
    """What a finished run holds, the selected epoch included."""
    return dict(capture(trainer, selected=True).tensors)


def resumed(make: Callable[[], Trainer], folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What a whole run leaves, and one that was stopped in the middle of its second epoch."""
    whole, part, fresh = make(), make(), make()
    whole.run()
    with pytest.raises(TrainingInterrupted):
        part.run(should_stop=lambda: part.iteration >= 5)
    checkpoint.save(part, folder)
    assert checkpoint.restore(fresh, folder)
    fresh.run()
    return tensors(whole), tensors(fresh)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].nan_to_num(), tensor.nan_to_num()), name


# --- bfloat16 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family", ["softmax", slow("jem"), "gmmc-dis", slow("gmmc-gen"), "gmmc-joint", "mmc", slow("igebm-conditional")]
)
def test_only_training_passes_are_in_bfloat16(trainer: Callable[..., Trainer], family: str) -> None:
    """Everything that training keeps or logs is float32, and so is validation."""
    made = trainer(family, epochs=2, precision="bf16", log_iterations=2, **FAMILIES[family])
    passes: set[tuple[bool, torch.dtype]] = set()
    backbone: Any = made.model.backbone
    backbone.stem.register_forward_hook(lambda module, _inputs, out: passes.add((module.training, out.dtype)))
    step = made.family.training_step
    scalars: set[torch.dtype] = set()

    def watched(*arguments: Any) -> Any:
        result = step(*arguments)
        scalars.update(value.dtype for value in (result.loss, *result.logs.values()))
        return result

    made.family.training_step = watched  # type: ignore[method-assign]
    result = made.run()
    assert passes == {(True, torch.bfloat16), (False, torch.float32)}
    assert scalars == {torch.float32}
    kept = {
        name: tensor.dtype
        for name, tensor in tensors(made).items()
        if tensor.is_floating_point() and not name.startswith("globals/")
    }
    assert {name: dtype for name, dtype in kept.items() if dtype != torch.float32} == {
        name: torch.float64 for name in kept if name.endswith("gamma2")
    }
    assert result.diverged is None
    assert made.forward.facts() == {"precision": "bf16", "cudnn": "deterministic"}


@pytest.mark.parametrize("family", ["softmax", slow("jem"), slow("gmmc-gen")])
def test_resuming_in_bfloat16_changes_no_bit(trainer: Callable[..., Trainer], tmp_path: Path, family: str) -> None:
    config = {"epochs": 2, **FAMILIES[family]}
    whole, part = resumed(lambda: trainer(family, precision="bf16", **config), tmp_path)
    assert_same(part, whole)
    exact = trainer(family, **config)
    exact.run()
    assert not torch.equal(tensors(exact)["model/backbone.stem.weight"], whole["model/backbone.stem.weight"])


@pytest.mark.slow
def test_training_in_bfloat16_learns(trainer: Callable[..., Trainer], whole: Splits) -> None:
    """Digits, as in float32 up to noise: 35 updates."""
    settings: dict[str, Any] = {"splits": whole, "epochs": 5, "batch_size": 64, "lr": 3e-3, "decay_epochs": []}
    results = {
        precision: trainer("softmax", precision=precision, **settings).run() for precision in ("float32", "bf16")
    }
    first, last = (results["bf16"].history[epoch]["loss"] for epoch in (0, -1))
    assert last < 0.8 * first
    assert last == pytest.approx(results["float32"].history[-1]["loss"], rel=0.1)


# --- on a GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_on_the_gpu(trainer: Callable[..., Trainer], family: str) -> None:
    config = {"epochs": 2, **FAMILIES[family]}
    result = trainer(family, device="cuda", precision="bf16", **config).run()
    exact = trainer(family, device="cuda", **config).run()
    assert result.diverged is None
    for found, expected in zip(result.history, exact.history, strict=True):
        assert math.isfinite(found["loss"])
        assert found["loss"] == pytest.approx(expected["loss"], rel=0.1, abs=0.1)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_trains_as_a_cpu_does(trainer: Callable[..., Trainer], family: str) -> None:
    """The same batches, crops, noise and chains: after a few steps only rounding differs."""
    here, there = (trainer(family, device=device, epochs=1, **FAMILIES[family]) for device in ("cpu", "cuda"))
    one, other = here.run().history[0], there.run().history[0]
    for name in one.keys() - {"seconds", "validation_accuracy"}:
        assert other[name] == pytest.approx(one[name], rel=1e-3, abs=1e-3), name


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("how", ["float32", "tf32", "bf16", "fast"])
@pytest.mark.parametrize("family", FAMILIES)
def test_iterations_never_wait_for_the_gpu(
    trainer: Callable[..., Trainer], digits: Splits, family: str, how: str
) -> None:
    """Between the reads of the guard, which come every ``READ_EVERY_ON_GPU`` iterations."""
    config = {"batch_size": 4, "log_iterations": 100, **FAMILIES[family]}
    config |= PRESETS_OF_ALL["fast"] if how == "fast" else {"precision": how}
    if family == "gmmc-joint":
        config["start_generative"] = 0
    plain = trainer(family, device="cuda", **config)
    made = Trainer(plain.family, plain.model, digits, augmentation="crop", seed=1)
    assert made.per_epoch > 15
    made.read_every = 100
    made.good = capture(made)

    def iterate(times: int) -> None:
        for _ in range(times):
            with made.forward.training():
                assert made._step(lambda _: None, 100) is None

    iterate(4)  # allocation and the choice of kernels may wait
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        iterate(8)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert made.iteration == 12
