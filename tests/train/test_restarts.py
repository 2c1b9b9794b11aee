"""Training that diverges: when it ends, and what a restart changes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.data.splits import Splits
from bench.train.loop import Trainer

NO_RESTART = {"restarts": 0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, 2e8])
def test_divergence_ends_training_and_names_its_epoch(scripted: Callable[..., Trainer], bad: float) -> None:
    trainer = scripted((3, 9, 5), losses=lambda index: bad if index == 4 else 1.0, guard=NO_RESTART)
    result = trainer.run()
    assert result.diverged is not None
    assert (result.diverged["epoch"], result.diverged["iteration"]) == (2, 4)
    assert str(bad) in result.diverged["reason"] or "2e+08" in result.diverged["reason"]
    assert [entry["epoch"] for entry in result.history] == [1]
    family: Any = trainer.family
    assert len(family.iterations) == 5
    assert family.finished_with is None
    # The step that was not finite has moved nothing.
    assert trainer.model.state_dict()["weight"].item() == pytest.approx(-4 * 0.5, rel=1e-4)


def test_a_log_that_is_not_finite_is_divergence_too(scripted: Callable[..., Trainer]) -> None:
    # The loss of 1e38 times 2 overflows only in the log, which is in single precision.
    limits = {"restarts": 0, "loss_limit": 1e39}
    result = scripted((3,), losses=lambda index: 3e38 if index == 2 else 1.0, guard=limits).run()
    assert result.diverged is not None
    assert result.diverged["reason"] == "twice is inf"
    assert result.diverged["epoch"] == 1
    assert result.selected is None


def test_a_restart_goes_back_to_the_last_good_epoch_with_other_randomness(scripted: Callable[..., Trainer]) -> None:
    """One bad iteration, at the second visit of which all is well: the epoch runs again, and nothing else does."""
    visits: list[int] = []

    def losses(index: int) -> float:
        visits.append(index)
        return math.nan if visits.count(4) == 1 and index == 4 else float(index)

    trainer = scripted((3, 9, 5), losses=losses, sigma=0.3)
    result = trainer.run()
    assert visits == [0, 1, 2, 3, 4, 3, 4, 5, 6, 7, 8]
    assert result.diverged is None
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3]
    assert [entry["loss"] for entry in result.history] == [1.0, 4.0, 7.0]
    (trip,) = result.trips
    assert (trip["epoch"], trip["iteration"], trip["reason"], trip["measures"]) == (2, 4, "loss is nan", ["seed"])
    # Weight and state are those of a run of nine steps, six of them before the best epoch's end.
    assert result.selected is not None
    assert result.selected.state["steps"].item() == 6
    assert trainer.state is not None
    assert trainer.state.state_dict()["steps"].item() == 9
    family: Any = trainer.family
    before, after = family.batches[3], family.batches[5]
    assert not torch.equal(before["first"].images, after["first"].images)


def test_the_log_of_the_first_iterations_keeps_what_a_restart_undoes(scripted: Callable[..., Trainer]) -> None:
    """Table 10 is about the explosion: going back must not erase it."""
    visits: list[int] = []

    def losses(index: int) -> float:
        visits.append(index)
        return 5e9 if index == 4 and visits.count(4) == 1 else float(index)

    result = scripted((3, 9, 5), losses=losses, log_iterations=6).run()
    assert [(entry["iteration"], entry["loss"]) for entry in result.iterations] == [
        (0, 0.0),
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 5e9),
        (5, 5.0),
    ]


def test_each_further_restart_adds_a_measure_until_none_is_left(scripted: Callable[..., Trainer]) -> None:
    ladder = {"ladder": ("seed", "lr"), "restarts": 3}
    trainer = scripted((3, 9), losses=lambda index: math.nan if index == 4 else 1.0, guard=ladder)
    result = trainer.run()
    assert [trip["measures"] for trip in result.trips] == [["seed"], ["seed", "lr"], ["seed", "lr", "lr"], []]
    assert result.diverged == result.trips[-1]
    assert result.diverged is not None
    assert (result.diverged["epoch"], result.diverged["restart"]) == (2, 4)
    assert trainer.config.lr == pytest.approx(0.5 / 4)


def test_a_trip_long_after_the_last_one_starts_at_the_foot_of_the_ladder(scripted: Callable[..., Trainer]) -> None:
    seen: list[int] = []

    def losses(index: int) -> float:
        seen.append(index)
        return math.nan if index in (1, 4, 16) and seen.count(index) == 1 else 1.0

    script = (1,) * 7
    result = scripted(script, losses=losses, guard={"ladder": ("seed", "lr"), "window": 2}).run()
    assert [(trip["epoch"], trip["measures"]) for trip in result.trips] == [
        (1, ["seed"]),
        (2, ["seed", "lr"]),
        (6, ["seed"]),
    ]
    assert result.diverged is None


def test_the_lr_of_a_restart_holds_from_then_on(scripted: Callable[..., Trainer]) -> None:
    seen: list[int] = []

    def losses(index: int) -> float:
        seen.append(index)
        return math.nan if index == 4 and seen.count(4) == 1 else 1.0

    result = scripted((1, 1, 1), losses=losses, guard={"ladder": ("lr",)}).run()
    assert [entry["lr"] for entry in result.history] == [0.5, 0.25, 0.25]


PROVOCATIONS: dict[str, dict[str, Any]] = {
    "jem": {"lr": 3e-2, "sampler": {"steps": 10, "buffer": 1000}},
    "gmmc-gen": {"lr": 2e-3, "sampler": {"steps": 10, "buffer": 1000, "step_size": 1.0, "clamp": False}},
}


@pytest.mark.parametrize("family", PROVOCATIONS)
def test_a_provoked_divergence_ends_as_one(trainer: Callable[..., Trainer], whole: Splits, family: str) -> None:
    """Recipes, section 4: JEM at lr 3e-2 and GMMC with a true per-sample step of 1 blow up within 50 iterations."""
    settings = {"epochs": 12, "batch_size": 64, "warmup": 0, "decay_epochs": [], "guard": NO_RESTART}
    settings |= PROVOCATIONS[family]
    result = trainer(family, splits=whole, **settings).run()
    assert result.diverged is not None
    epoch = result.diverged["epoch"]
    assert epoch == len(result.history) + 1
    assert 1 <= epoch < 12
    assert result.diverged["iteration"] // 7 + 1 == epoch
