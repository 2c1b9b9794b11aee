from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bench.spec import TrainingConfig
from bench_models.configs import (
    GMMCDisConfig,
    GMMCGenConfig,
    GMMCJointConfig,
    GMMCSamplerConfig,
    JEMConfig,
    SGLDConfig,
    SoftmaxConfig,
)

ALL: list[type[TrainingConfig]] = [SoftmaxConfig, JEMConfig, GMMCDisConfig, GMMCGenConfig, GMMCJointConfig]


@pytest.mark.parametrize("config", ALL)
def test_common_defaults_are_the_choices_of_the_protocol(config: type[TrainingConfig]) -> None:
    """Protocol, sections 3.1 and 6 (rows 7, 10, 13)."""
    c = config()
    assert (c.lr, c.decay_rate, c.warmup, c.batch_size, c.sigma) == (1e-4, 0.3, 1000, 64, 0.03)
    assert c.augment
    assert c.select == "best-validation"


@pytest.mark.parametrize(
    ("config", "epochs", "decays"),
    [
        (SoftmaxConfig, 150, (50, 100)),  # rows 22 and 31: the schedule of JEM
        (JEMConfig, 150, (50, 100)),
        (GMMCDisConfig, 150, (30, 50, 80)),
        (GMMCGenConfig, 100, (30, 50, 80)),  # row 6
        (GMMCJointConfig, 100, (30, 50, 80)),  # row 8
    ],
)
def test_schedules(config: type[TrainingConfig], epochs: int, decays: tuple[int, ...]) -> None:
    c = config()
    assert (c.epochs, c.decay_epochs) == (epochs, decays)


def test_sampler_of_jem() -> None:
    assert SGLDConfig().model_dump() == {
        "steps": 20,
        "step_size": 1.0,
        "noise": 0.01,
        "decay_power": 0.0,
        "clamp": False,
        "buffer": 10_000,
        "reinit": 0.05,
    }
    assert (JEMConfig().px_weight, JEMConfig().pyx_weight, JEMConfig().augment_density) == (1.0, 1.0, True)


def test_sampler_of_gmmc() -> None:
    assert GMMCSamplerConfig().model_dump() == {
        "steps": 20,
        "step_size": 1 / 64,
        "mode": "staged",
        "gamma": 0.001,
        "gamma_source": "constant",
        "labels": "batch",
        "clamp": True,
        "buffer": 100_000,
        "reinit": 0.025,
    }
    assert (GMMCGenConfig().beta, GMMCGenConfig().scale) == (0.5, 10.0)
    joint = GMMCJointConfig()
    assert (joint.start_generative, joint.ramp_epochs, joint.beta) == (50, 0, 0.5)


@pytest.mark.parametrize("config", ALL)
def test_unknown_keys_and_coercion_are_refused(config: type[TrainingConfig]) -> None:
    with pytest.raises(ValidationError, match="nonsense"):
        config.model_validate({"nonsense": 1})
    with pytest.raises(ValidationError, match="epochs"):
        config.model_validate({"epochs": "150"})


@pytest.mark.parametrize("config", ALL)
def test_instances_are_frozen(config: type[TrainingConfig]) -> None:
    c: Any = config()
    with pytest.raises(ValidationError, match="frozen"):
        c.lr = 1.0


@pytest.mark.parametrize(
    ("config", "values", "key"),
    [
        (SoftmaxConfig, {"epochs": 0}, "epochs"),
        (SoftmaxConfig, {"lr": 0.0}, "lr"),
        (SoftmaxConfig, {"sigma": -0.1}, "sigma"),
        (SoftmaxConfig, {"decay_epochs": (-1,)}, "decay_epochs"),
        (SoftmaxConfig, {"select": "test"}, "select"),
        (JEMConfig, {"sampler": {"reinit": 1.5}}, "reinit"),
        (JEMConfig, {"sampler": {"buffer": 0}}, "buffer"),
        (GMMCGenConfig, {"sampler": {"mode": "both"}}, "mode"),
        (GMMCGenConfig, {"sampler": {"step_size": 0.0}}, "step_size"),
        (GMMCDisConfig, {"scale": -10.0}, "scale"),
        (GMMCDisConfig, {"beta": 0.5}, "beta"),
    ],
)
def test_impossible_values_name_their_key(config: type[TrainingConfig], values: dict[str, object], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        config.model_validate(values)


@pytest.mark.parametrize(("start", "epochs"), [(10, 10), (11, 10)])
def test_joint_training_needs_a_generative_phase(start: int, epochs: int) -> None:
    with pytest.raises(ValidationError, match="must be less than epochs"):
        GMMCJointConfig(start_generative=start, epochs=epochs)


def test_joint_training_may_be_generative_in_its_last_epoch_only() -> None:
    assert GMMCJointConfig(start_generative=9, epochs=10).start_generative == 9


def test_not_a_number_is_no_hyper_parameter() -> None:
    for values in ({"lr": float("nan")}, {"lr": float("inf")}, {"sigma": float("inf")}):
        with pytest.raises(ValidationError):
            SoftmaxConfig.model_validate(values)
