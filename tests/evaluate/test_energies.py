from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from bench_models.generative import logged_energies
from pydantic import ValidationError
from torch import Tensor

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.data.splits import Caps
from bench.evaluate.energies import Energies, EnergiesConfig
from bench.family import Batch, Iteration
from bench.train.loop import Trainer
from bench.weights import load as trained
from bench.weights.find import Blueprint

ENERGIES = Energies()


class Logged:
    """Inputs of an evaluation that reads nothing but the record of training."""

    def __init__(self, iterations: list[dict[str, Any]]) -> None:
        self.record = {"iterations": iterations}

    def training(self) -> dict[str, Any]:
        return self.record


def evaluate(iterations: list[dict[str, Any]], *wanted: int) -> dict[tuple[str, str], Any]:
    outcome = ENERGIES.evaluate(EnergiesConfig(iterations=wanted), Logged(iterations))  # type: ignore[arg-type]
    return {(number.metric, number.argument): number for number in outcome.numbers}


def test_numbers_are_those_of_the_log() -> None:
    log = [{"iteration": i, "loss": 0.0, "energy_real": -20.0 - i, "energy_sampled": -600.0 + i} for i in range(4)]
    numbers = evaluate(log, 0, 3)
    assert {key: number.value for key, number in numbers.items()} == {
        ("real", "0"): -20.0,
        ("real", "3"): -23.0,
        ("sampled", "0"): -600.0,
        ("sampled", "3"): -597.0,
    }
    assert numbers["real", "3"].definition == "mean E(x) of a batch of training images before update 3"
    assert numbers["real", "3"].reason is None


def test_iterations_that_were_not_kept_say_so() -> None:
    numbers = evaluate([{"iteration": 0, "energy_real": 1.0, "energy_sampled": 2.0}], 0, 1)
    assert numbers["sampled", "1"].value is None
    assert "raise log_iterations" in numbers["sampled", "1"].reason


def test_the_interval_is_that_of_the_images_of_the_batch() -> None:
    """Energies 1, 2, 3, 6: mean 3, standard deviation sqrt(14 / 3), t_3 = 3.182."""
    logs = logged_energies(torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([5.0]))
    number = evaluate([{"iteration": 0} | {name: float(value) for name, value in logs.items()}], 0)["real", "0"]
    assert (number.value, number.n, number.interval.kind) == (3.0, 4, "t over the batch")
    half = 3.182446 * math.sqrt(14 / 3) / 2
    assert (number.interval.low, number.interval.high) == pytest.approx((3 - half, 3 + half))


def test_one_image_or_an_old_log_gives_no_interval() -> None:
    logs = logged_energies(torch.tensor([1.0]), torch.tensor([5.0]))
    for entry in ({name: float(value) for name, value in logs.items()}, {"energy_real": 1.0, "energy_sampled": 5.0}):
        numbers = evaluate([{"iteration": 0, **entry}], 0)
        assert {(number.value, number.n, number.interval) for number in numbers.values()} == {
            (1.0, 1, None),
            (5.0, 1, None),
        }
    strange = {"iteration": 0, "energy_real": 1.0, "energy_real_error": math.nan, "energy_real_items": 4.0}
    assert evaluate([strange], 0)["real", "0"].interval is None


def test_a_log_without_samples() -> None:
    """GMMC (Joint) before its switch."""
    numbers = evaluate([{"iteration": 0, "fp": 50.0}], 0)
    assert numbers["real", "0"].value is None


def test_columns_and_numbers_agree() -> None:
    config = EnergiesConfig(iterations=(0, 5))
    columns = {(column.metric, column.argument): column for column in ENERGIES.columns(config)}
    numbers = evaluate([], 0, 5)
    assert set(columns) == set(numbers)
    assert all(columns[key].definition == numbers[key].definition for key in columns)
    assert {column.direction for column in columns.values()} == {None}


@pytest.mark.parametrize("iterations", [(), (-1,)])
def test_wrong_iterations(iterations: tuple[int, ...]) -> None:
    with pytest.raises(ValidationError):
        EnergiesConfig(iterations=iterations)


# --- what training keeps ----------------------------------------------------------------------------------------


def energy(model: Any, scaled: Tensor) -> float:
    """E(x) = -log sum_y exp f(x)[y], in a loop and in float64."""
    with torch.no_grad():
        logits = model.classify(model.backbone(scaled)).double()
    total = 0.0
    for row in logits.tolist():
        total += -max(row) - math.log(sum(math.exp(value - max(row)) for value in row))
    return total / len(logits)


@pytest.mark.parametrize("name", ["jem", "gmmc-gen"])
def test_energies_by_hand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the real batch and of its samples, by the weights before the update."""
    config = {"log_iterations": 3, "sampler": {"steps": 2, "buffer": 40}}
    family, model = trained.build(
        Blueprint(family=name, backbone="wrn-10-1", config=config, seed=1), 10, (1, 8, 8), "cpu"
    )
    generator = torch.Generator().manual_seed(0)
    state: Any = family.start(model, generator)
    kept: list[Tensor] = []
    write_back = state.write_back

    def keeping(draw: Any, samples: Tensor) -> None:
        kept.append(samples)
        write_back(draw, samples)

    monkeypatch.setattr(state, "write_back", keeping)
    images = torch.rand(12, 1, 8, 8)
    batches = {stream: Batch(images, torch.arange(12) % 10) for stream in family.streams()}
    step = family.training_step(model, batches, state, Iteration(2, 0, 10, generator))
    assert float(step.logs["energy_real"]) == pytest.approx(energy(model, images * 2 - 1), rel=1e-5)
    assert float(step.logs["energy_sampled"]) == pytest.approx(energy(model, kept[0]), rel=1e-5)
    assert not step.logs["energy_real"].requires_grad
    assert float(step.logs["energy_sampled_items"]) == 12
    later = family.training_step(model, batches, state, Iteration(3, 0, 10, generator))
    assert "energy_real" not in later.logs


def test_sampling_lowers_the_energy_that_is_logged() -> None:
    """The sign: SGLD climbs log p(x), so samples of many steps have less energy than the noise they start from."""
    energies = []
    for steps in (0, 40):
        config = {"log_iterations": 1, "sampler": {"steps": steps, "buffer": 40, "noise": 0.0}}
        family, model = trained.build(
            Blueprint(family="jem", backbone="wrn-10-1", config=config, seed=1), 10, (1, 8, 8), "cpu"
        )
        generator = torch.Generator().manual_seed(0)
        batch = Batch(torch.rand(12, 1, 8, 8), torch.arange(12) % 10)
        state = family.start(model, generator)
        step = family.training_step(model, {"density": batch, "train": batch}, state, Iteration(0, 0, 1, generator))
        energies.append(float(step.logs["energy_sampled"]))
    assert energies[1] < energies[0]


@pytest.fixture
def trainer() -> Callable[..., Trainer]:
    from pathlib import Path

    splits = load_splits(
        DATASETS.get("digits"), Path("/"), seed=0, validation=200, caps=Caps(train=64, validation=10, test=10)
    )

    def make(**config: Any) -> Trainer:
        values = {"epochs": 2, "batch_size": 16, "warmup": 0, "sampler": {"steps": 1, "buffer": 20}, **config}
        spec = Blueprint(family="jem", backbone="wrn-10-1", config=values, seed=1)
        family, model = trained.build(spec, 10, (1, 8, 8), "cpu")
        return Trainer(family, model, splits, augmentation="none", seed=1)

    return make


@pytest.mark.parametrize("wanted", [0, 1, 5, 100])
def test_the_first_iterations_are_kept(trainer: Callable[..., Trainer], wanted: int) -> None:
    result = trainer(log_iterations=wanted).run()
    assert [entry["iteration"] for entry in result.iterations] == list(range(min(wanted, 8)))
    for entry in result.iterations:
        assert entry["energy_real"] == -entry["fp"]
        assert entry["energy_sampled"] == -entry["fq"]


def test_keeping_them_changes_no_number(trainer: Callable[..., Trainer]) -> None:
    with_log, without = trainer(log_iterations=8).run(), trainer().run()
    assert with_log.selected is not None
    assert without.selected is not None
    assert all(torch.equal(tensor, without.selected.weights[k]) for k, tensor in with_log.selected.weights.items())


def test_an_energy_that_is_not_finite_is_no_number_but_is_told() -> None:
    numbers = evaluate([{"iteration": 0, "energy_real": "nan", "energy_sampled": 3.1e9}], 0)
    assert numbers["real", "0"].value is None
    assert numbers["real", "0"].reason == "the energy is nan"
    assert numbers["sampled", "0"].value == 3.1e9
