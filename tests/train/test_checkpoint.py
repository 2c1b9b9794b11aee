"""An interrupted run continued from its checkpoint is the run that would have been, to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from bench.files.tensors import load_tensors
from bench.train import checkpoint
from bench.train.loop import Trainer, TrainingInterrupted, TrainingResult

SAMPLER = {"steps": 2, "buffer": 50, "reinit": 0.1}
FAMILIES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "jem": {"sampler": SAMPLER},
    "gmmc-dis": {},
    "mmc": {"lr": 1e-3, "optimizer": {"weight_decay": 2e-4}},
    "gmmc-gen": {"sampler": SAMPLER},
    "gmmc-joint": {"sampler": SAMPLER, "start_generative": 1},
    "igebm": {"sampler": SAMPLER},
    "igebm-conditional": {"sampler": SAMPLER},
}


def interrupted(trainer: Trainer, folder: Path, iteration: int) -> None:
    """Train for so many iterations, stop there and save."""
    with pytest.raises(TrainingInterrupted):
        trainer.run(should_stop=lambda: trainer.iteration >= iteration)
    assert trainer.iteration == iteration
    checkpoint.save(trainer, folder)


def everything(trainer: Trainer, result: TrainingResult) -> dict[str, Any]:
    """All that a run leaves, seconds aside."""
    assert result.selected is not None
    tensors: dict[str, Tensor] = {}
    groups: dict[str, Any] = {
        "weights": result.selected.weights,
        "selected state": result.selected.state,
        "model": trainer.model.state_dict(),
        "state": trainer.state.state_dict() if trainer.state is not None else {},
        **{f"stream {name}": stream.state_dict() for name, stream in trainer.streams.items()},
    }
    for name, group in groups.items():
        tensors |= {f"{name}: {key}": value.detach().clone() for key, value in group.items()}
    for index, values in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer {index}: {key}": value.detach().clone() for key, value in values.items()}
    tensors["generator"] = trainer.generator.get_state()
    return {
        "tensors": tensors,
        "history": [{k: v for k, v in entry.items() if k != "seconds"} for entry in result.history],
        "selected": (result.selected.epoch, result.selected.validation_accuracy),
        "iterations": result.iterations,
        "trips": result.trips,
        "guard": trainer.guard.state(),
    }


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert {key: value for key, value in found.items() if key != "tensors"} == {
        key: value for key, value in expected.items() if key != "tensors"
    }
    assert set(found["tensors"]) == set(expected["tensors"])
    for name, tensor in expected["tensors"].items():
        other = found["tensors"][name]
        assert other.dtype == tensor.dtype, name
        assert torch.equal(other.nan_to_num(), tensor.nan_to_num()), name


@pytest.mark.parametrize("family", FAMILIES)
def test_resuming_changes_no_bit(trainer: Callable[..., Trainer], tmp_path: Path, family: str) -> None:
    """Three epochs of three iterations; stopped after each epoch, and in the middle of one."""
    config = {"log_iterations": 5, **FAMILIES[family]}
    whole = trainer(family, **config)
    expected = everything(whole, whole.run())
    assert len(expected["history"]) == 3
    for iteration in (3, 5, 6):
        folder = tmp_path / str(iteration)
        interrupted(trainer(family, **config), folder, iteration)
        torch.manual_seed(iteration)  # a new process has another global generator
        fresh = trainer(family, **config)
        assert checkpoint.restore(fresh, folder) == f"continued at iteration {iteration}"
        assert fresh.iteration == iteration
        assert_same(everything(fresh, fresh.run()), expected)


def test_a_run_that_was_killed_after_its_last_epoch(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    """Nothing is left to train, but what follows training has not happened yet."""
    config = FAMILIES["gmmc-gen"]
    whole = trainer("gmmc-gen", **config)
    saved: list[int] = []

    def after_epoch() -> None:
        if whole.epoch == 3:
            checkpoint.save(whole, tmp_path)
            saved.append(whole.iteration)

    expected = everything(whole, whole.run(after_epoch=after_epoch))
    assert saved == [9]
    fresh = trainer("gmmc-gen", **config)
    assert checkpoint.restore(fresh, tmp_path)
    found = everything(fresh, fresh.run())
    assert not found["tensors"]["weights: gamma2"].isnan()
    assert_same(found, expected)


def test_interrupting_again_and_again_changes_no_bit(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    config = FAMILIES["gmmc-gen"]
    whole = trainer("gmmc-gen", **config)
    expected = everything(whole, whole.run())
    for iteration in (1, 2, 4, 6, 8):
        part = trainer("gmmc-gen", **config)
        assert (checkpoint.restore(part, tmp_path) is not None) == (iteration > 1)
        interrupted(part, tmp_path, iteration)
    last = trainer("gmmc-gen", **config)
    assert checkpoint.restore(last, tmp_path)
    assert_same(everything(last, last.run()), expected)


def test_the_same_process_may_go_on(scripted: Callable[..., Trainer], tmp_path: Path) -> None:
    expected = everything(whole := scripted((3, 9, 5)), whole.run())
    trainer = scripted((3, 9, 5))
    interrupted(trainer, tmp_path, 4)
    assert_same(everything(trainer, trainer.run()), expected)


def test_resuming_with_noise_and_an_early_best_epoch(scripted: Callable[..., Trainer], tmp_path: Path) -> None:
    """The selected epoch lies before the interruption: its weights and state come from the checkpoint."""
    settings: dict[str, Any] = {"script": (3, 9, 5, 2), "sigma": 0.3}
    expected = everything(whole := scripted(**settings), whole.run())
    assert expected["selected"] == (2, 0.9)
    interrupted(scripted(**settings), tmp_path, 9)
    fresh = scripted(**settings)
    assert checkpoint.restore(fresh, tmp_path)
    assert_same(everything(fresh, fresh.run()), expected)
    family: Any = fresh.family
    assert [iteration.index for iteration in family.iterations] == [9, 10, 11]


# --- restarts ---------------------------------------------------------------------------------------------------


def bad_once(*bad: int) -> Callable[[int], float]:
    """NaN at the first visit of some iterations; a process that resumes has visited none before it began."""
    seen: list[int] = []

    def losses(index: int) -> float:
        seen.append(index)
        return math.nan if index in bad and seen.count(index) == 1 else 1.0

    return losses


@pytest.mark.parametrize("iteration", [6, 7, 8])
def test_a_resumed_run_remembers_its_restarts(scripted: Callable[..., Trainer], tmp_path: Path, iteration: int) -> None:
    """Tripped at iteration 4 before the interruption, and again at 8 after it: the second measure is due."""
    settings: dict[str, Any] = {"script": (3, 9, 5), "sigma": 0.3, "guard": {"ladder": ("seed", "lr")}}
    expected = everything(whole := scripted(losses=bad_once(4, 8), **settings), whole.run())
    assert [trip["measures"] for trip in expected["trips"]] == [["seed"], ["seed", "lr"]]
    interrupted(scripted(losses=bad_once(4), **settings), tmp_path, iteration)
    fresh = scripted(losses=bad_once(8), **settings)
    assert checkpoint.restore(fresh, tmp_path)
    assert fresh.config.lr == 0.5
    assert_same(everything(fresh, fresh.run()), expected)


def test_the_measures_in_force_come_back(scripted: Callable[..., Trainer], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"script": (3, 9, 5), "guard": {"ladder": ("lr",)}}
    expected = everything(whole := scripted(losses=bad_once(4), **settings), whole.run())
    assert [entry["lr"] for entry in expected["history"]] == [0.5, 0.25, 0.25]
    interrupted(scripted(losses=bad_once(4), **settings), tmp_path, 5)
    fresh = scripted(**settings)
    assert checkpoint.restore(fresh, tmp_path)
    assert_same(everything(fresh, fresh.run()), expected)


def test_a_resumed_run_diverges_where_it_would_have(scripted: Callable[..., Trainer], tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "script": (3, 9, 5),
        "losses": lambda index: math.nan if index == 7 else 1.0,
        "guard": {"restarts": 2},
    }
    expected = scripted(**settings).run()
    interrupted(scripted(**settings), tmp_path, 5)
    fresh = scripted(**settings)
    assert checkpoint.restore(fresh, tmp_path)
    result = fresh.run()
    assert result.diverged == expected.diverged
    assert result.trips == expected.trips
    assert result.diverged is not None
    assert (result.diverged["epoch"], len(result.trips)) == (3, 3)


# --- files ------------------------------------------------------------------------------------------------------


def newest(folder: Path) -> Path:
    return max(folder.glob("checkpoint-*.safetensors"), key=lambda path: int(path.stem.split("-")[1]))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "one bit": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "foreign": lambda _: safetensors.torch.save({"weight": torch.zeros(3)}),
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    trainer: Callable[..., Trainer], tmp_path: Path, damage: str
) -> None:
    config = {"epochs": 2, **FAMILIES["gmmc-gen"]}
    expected = everything(whole := trainer("gmmc-gen", **config), whole.run())
    first = trainer("gmmc-gen", **config)
    interrupted(first, tmp_path, 2)
    interrupted(first, tmp_path, 4)
    path = newest(tmp_path)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    fresh = trainer("gmmc-gen", **config)
    said = checkpoint.restore(fresh, tmp_path)
    assert said == f"continued at iteration 2; damaged and passed over: {path.name}"
    assert_same(everything(fresh, fresh.run()), expected)


@pytest.mark.parametrize("damage", [*DAMAGE, "index"])
def test_without_a_whole_checkpoint_training_starts_again(
    trainer: Callable[..., Trainer], tmp_path: Path, damage: str
) -> None:
    config = {"epochs": 2, **FAMILIES["gmmc-gen"]}
    expected = everything(whole := trainer("gmmc-gen", **config), whole.run())
    interrupted(trainer("gmmc-gen", **config), tmp_path, 2)
    path = tmp_path / checkpoint.INDEX if damage == "index" else newest(tmp_path)
    harm = DAMAGE["truncated" if damage == "index" else damage]
    path.write_bytes(harm(path.read_bytes()))
    fresh = trainer("gmmc-gen", **config)
    assert checkpoint.restore(fresh, tmp_path) == f"training starts over; damaged: {path.name}"
    assert list(tmp_path.iterdir()) == []
    assert fresh.iteration == 0
    assert_same(everything(fresh, fresh.run()), expected)


def test_the_last_two_are_kept_and_no_temporary_files(scripted: Callable[..., Trainer], tmp_path: Path) -> None:
    trainer = scripted((3, 9, 5))
    for iteration in (1, 3, 4, 6):
        interrupted(trainer, tmp_path, iteration)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-2.safetensors", "checkpoint-3.safetensors", checkpoint.INDEX]
    checkpoint.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_earlier_checkpoints_unharmed(
    scripted: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = scripted((3, 9, 5))
    interrupted(trainer, tmp_path, 2)

    def full(*_: object) -> None:
        raise OSError("No space left on device")

    with pytest.raises(TrainingInterrupted):
        trainer.run(should_stop=lambda: trainer.iteration >= 4)
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            checkpoint.save(trainer, tmp_path)
    fresh = scripted((3, 9, 5))
    assert checkpoint.restore(fresh, tmp_path) == "continued at iteration 2"


def test_without_a_checkpoint_there_is_nothing_to_restore(scripted: Callable[..., Trainer], tmp_path: Path) -> None:
    assert checkpoint.restore(scripted((3,)), tmp_path / "absent") is None
    checkpoint.remove(tmp_path)


def test_a_checkpoint_is_plain_tensors_and_json(trainer: Callable[..., Trainer], tmp_path: Path) -> None:
    interrupted(trainer("jem", **FAMILIES["jem"]), tmp_path, 4)
    tensors, metadata = load_tensors(newest(tmp_path))
    assert {name.split("/")[0] for name in tensors} == {"now", "good"}
    groups = {
        group: {name.split("/")[1] for name in tensors if name.startswith(f"{group}/")} for group in ("now", "good")
    }
    common = {"model", "optimizer", "stream", "generator", "state_generator", "globals", "state"}
    assert groups["now"] == {*common, "sums", "selected", "selected_state"}
    assert groups["good"] == common
    assert list(metadata) == ["facts"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_resuming_on_the_gpu_changes_no_bit(trainer: Callable[..., Trainer], tmp_path: Path, family: str) -> None:
    config = FAMILIES[family]
    whole = trainer(family, device="cuda", **config)
    expected = everything(whole, whole.run())
    interrupted(trainer(family, device="cuda", **config), tmp_path, 5)
    fresh = trainer(family, device="cuda", **config)
    assert checkpoint.restore(fresh, tmp_path)
    assert_same(everything(fresh, fresh.run()), expected)
