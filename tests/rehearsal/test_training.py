"""Training of every family on the device that is none: the numbers of a CPU, and what a step may ask of a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.train.loop import READ_EVERY_ON_GPU, Trainer
from tests.rehearsal.bounds import hold_training_step
from tests.rehearsal.conftest import FAMILIES
from tests.rehearsal.device import DEVICE, rehearsed
from tests.rehearsal.log import SYNC, TO_DEVICE, TO_HOST

Make = Callable[..., Trainer]


@pytest.mark.parametrize("family", FAMILIES)
def test_training_gives_the_bits_of_a_cpu(make_trainer: Make, family: str) -> None:
    """Steps, sampler, buffer, validation, selection and the work after training, over two epochs."""
    here = make_trainer(family, "cpu").run()
    with rehearsed():
        there = make_trainer(family, DEVICE.type).run()
        assert here.selected is not None
        assert there.selected is not None
        for expected, found in (
            (here.selected.weights, there.selected.weights),
            (here.selected.state, there.selected.state),
        ):
            assert expected.keys() == found.keys()
            for name, tensor in expected.items():
                torch.testing.assert_close(found[name].cpu(), tensor, rtol=0, atol=0, equal_nan=True, msg=name)
    seconds = [entry.pop("seconds") for result in (here, there) for entry in result.history]
    assert len(seconds) == 4
    assert there.history == here.history
    assert there.iterations == here.iterations


def steps_of(trainer: Trainer, count: int) -> None:
    """Iterations as ``run`` makes them, without its readings between them."""
    for _ in range(count):
        with trainer.forward.training():
            assert trainer._step(lambda _: None, count) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_copies_little_and_never_waits(make_trainer: Make, family: str) -> None:
    with rehearsed() as log:
        trainer = make_trainer(family, DEVICE.type, start_generative=0) if "joint" in family else make_trainer(
            family, DEVICE.type
        )  # fmt: skip
        log.clear()
        steps_of(trainer, 2)
        hold_training_step(log)
        assert log.count("kernel", "models/") > 0


def test_all_unread_iterations_are_read_in_one_wait(make_trainer: Make) -> None:
    with rehearsed() as log:
        trainer = make_trainer("jem", DEVICE.type)
        trainer.per_epoch = 10 * READ_EVERY_ON_GPU
        log.clear()
        steps_of(trainer, READ_EVERY_ON_GPU)
        assert log.count(SYNC) == 1, log.told(SYNC)
        assert not trainer._unread


def test_a_family_that_logs_numbers_copies_none_to_the_device(make_trainer: Make) -> None:
    with rehearsed() as log:
        trainer = make_trainer("softmax", DEVICE.type)
        plain = trainer.family.training_step

        def logged(*args: Any) -> Any:
            step = plain(*args)
            return type(step)(step.loss, {"one": 1.0})

        trainer.family.training_step = logged  # type: ignore[method-assign]
        log.clear()
        steps_of(trainer, 2)
        hold_training_step(log)
        assert log.count(TO_DEVICE) == 0


def test_a_validation_waits_once(make_trainer: Make) -> None:
    with rehearsed() as log:
        trainer = make_trainer("gmmc-gen", DEVICE.type)
        log.clear()
        accuracy = trainer._validate()
        assert accuracy is not None
        assert 0 <= accuracy <= 1
        assert (log.count(SYNC), log.count(TO_DEVICE), log.count(TO_HOST)) == (1, 0, 0)
