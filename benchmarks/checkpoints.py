"""The cost of a checkpoint with a large replay buffer: rows shared between checkpoints, against whole copies.

    python benchmarks/checkpoints.py                     # 100,000 images of 3x32x32: 9 GB of disk, 10 GB of memory
    python benchmarks/checkpoints.py --rows 20000

A checkpoint here holds the buffer twice: as it is, and as it was in the selected epoch, which does not change. Some
rows of the buffer change between two checkpoints. Whole copies are the former checkpoints: all tensors in one file, two
files kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bench_models.replay import ReplayBuffer

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.files.tensors import nested, save_tensors
from bench.train import checkpoint
from bench.train.loop import Trainer
from bench.train.snapshot import Selected, capture
from bench.weights import load as trained
from bench.weights.find import Blueprint

IMAGE = (3, 32, 32)


def trainer_with(rows: int) -> Trainer:
    """A trainer of a small classifier with a large buffer."""
    digits = DATASETS.get("digits")
    splits = load_splits(digits, Path("/"), seed=2, validation=digits.validation)
    spec = Blueprint(family="softmax", backbone="wrn-10-1", config={"epochs": 2, "lr": 2e-3, "warmup": 0}, seed=1)
    family, model = trained.build(spec, 10, (1, 8, 8), "cpu")
    trainer = Trainer(family, model, splits, augmentation="none", seed=1)
    trainer.state = ReplayBuffer(rows, IMAGE, 10, seed=1, device="cpu")
    state = {name: tensor.clone() for name, tensor in trainer.state.state_dict().items()}
    trainer.selected = Selected(1, 0.5, {k: v.clone() for k, v in model.state_dict().items()}, state)
    return trainer


def whole(trainer: Trainer, folder: Path) -> None:
    """Save whole copies, the former way."""
    now = capture(trainer, selected=True)
    save_tensors(folder / f"whole-{trainer.iteration}", nested("now", now.tensors), {"facts": json.dumps(now.facts)})
    (folder / f"whole-{trainer.iteration - 2 * trainer.per_epoch}").unlink(missing_ok=True)


def measured(work: Callable[[], None], folder: Path) -> dict[str, float]:
    """Seconds by the clock and of the processor, bytes written, and bytes in the folder afterwards."""
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    began, used = time.perf_counter(), time.process_time()
    work()
    clock, processor = time.perf_counter() - began, time.process_time() - used
    files = [(path.name, path.stat()) for path in folder.iterdir()]
    return {
        "clock_s": clock,
        "cpu_s": processor,
        "written": sum(stat.st_size for name, stat in files if before.get(name) != stat.st_mtime_ns),
        "held": sum(stat.st_size for _, stat in files),
    }


def measure(rows: int, changed: int, saves: int) -> list[dict[str, Any]]:
    """One entry per save, in both ways in turn: each whole save has a shared save of the same state."""
    trainer = trainer_with(rows)
    generator = torch.Generator().manual_seed(2)
    found = []
    with tempfile.TemporaryDirectory(dir=".") as place:
        folders = {name: Path(place) / name for name in ("shared", "whole")}
        for folder in folders.values():
            folder.mkdir()
        assert isinstance(trainer.state, ReplayBuffer)
        for save in range(saves):
            trainer.iteration = save * trainer.per_epoch
            if save:
                chosen = torch.randperm(rows, generator=generator)[:changed]
                trainer.state.images[chosen] = torch.rand((changed, *IMAGE), generator=generator)
            for name, way in (("shared", checkpoint.save), ("whole", whole)):
                folder = folders[name]
                row = measured(lambda way=way, folder=folder: way(trainer, folder), folder)  # type: ignore[misc]
                found.append({"save": save, "way": name, **row})
        fresh = trainer_with(rows)
        restored = measured(lambda: print(checkpoint.restore(fresh, folders["shared"])), folders["shared"])
        found.append({"save": saves - 1, "way": "restore", **restored})
    return found


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--changed", type=int, default=2_000)
    parser.add_argument("--saves", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| save | way | clock | processor | written | on disk |\n|---:|---|---:|---:|---:|---:|")
    for row in measure(arguments.rows, arguments.changed, arguments.saves):
        print(
            f"| {row['save']} | {row['way']} | {row['clock_s']:.2f} s | {row['cpu_s']:.2f} s | "
            f"{row['written'] / 1e6:.1f} MB | {row['held'] / 1e6:.1f} MB |"
        )


if __name__ == "__main__":
    main()
