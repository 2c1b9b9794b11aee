"""What JEM++ and SADA-JEM declare: defaults, presets, cost, what only training reads, and what they cannot do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from bench_models.jem_pp import JEMPPClassifier
from bench_models.successor_configs import JEMPPConfig, SADAJEMConfig
from bench_models.successor_specs import JEM_PP, SADA_JEM
from torch import Tensor, nn

from bench.family import Batch
from bench.registry import import_object
from bench.spec import BACKBONES, FAMILIES, FamilySpec, Task, TrainingConfig, settings

K, SHAPE = 4, (1, 2, 3)
both = pytest.mark.parametrize("spec", [JEM_PP, SADA_JEM], ids=lambda spec: spec.name)


def config(spec: FamilySpec, **values: Any) -> Any:
    return spec.config.model_validate(values)


def test_specs_need_no_torch() -> None:
    code = "import sys, bench_models.successor_specs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@both
def test_a_family_arrives_through_its_entry_point(spec: FamilySpec) -> None:
    assert FAMILIES.get(spec.name) is spec


def test_defaults_of_jem_pp_are_those_of_its_script() -> None:
    """Protocol, JEM++ settings: SGD 0.1, weight decay 4e-4, 150 epochs, 10 x 5 steps of 0.2, no noise, clamps at 1."""
    c = JEMPPConfig()
    assert (c.lr, c.epochs, c.decay_epochs, c.decay_rate, c.sigma) == (0.1, 150, (50, 100, 125), 0.2, 0.03)
    assert str(c.optimizer) == "sgd, momentum 0.9, weight decay 0.0004"
    s = c.sampler
    assert (s.steps, s.inner_steps, s.step_size, s.noise, s.bound) == (10, 5, 0.2, 0.0, 1.0)
    assert (s.start, s.jitter, s.buffer, s.reinit, s.clamp, s.batch_statistics) == (
        "mixture",
        1e-4,
        10_000,
        0.05,
        True,
        True,
    )
    assert s.companions == 15


def test_defaults_of_sada_jem_are_those_of_its_script() -> None:
    """Protocol, SADA-JEM: SGD 0.1, weight decay 5e-4, adaptive SAM of 2, 200 epochs, 5 steps of 1, trip at 1e5."""
    c = SADAJEMConfig()
    assert (c.lr, c.epochs, c.decay_epochs, c.decay_rate, c.sigma) == (0.1, 200, (60, 120, 180), 0.2, 0.0)
    assert str(c.optimizer) == "sgd, momentum 0.9, weight decay 0.0005"
    assert (c.rho, c.adaptive, c.augment_density, c.guard.loss_limit) == (2.0, True, False, 1e5)
    s = c.sampler
    assert (s.steps, s.inner_steps, s.step_size, s.noise, s.bound, s.start) == (5, 1, 1.0, 0.0, 1.0, "mixture")


@both
def test_the_list_of_settings_has_the_defaults_of_the_family_in_its_tables(spec: FamilySpec) -> None:
    default = {setting.key: setting.default for setting in settings(spec.config)}
    assert (default["optimizer.kind"], default["optimizer.momentum"]) == ("sgd", 0.9)
    assert default["guard.loss_limit"] == (1e5 if spec is SADA_JEM else 1e8)
    assert {setting.key: setting.default for setting in settings(TrainingConfig)}["optimizer.kind"] == "adam"


@both
def test_presets_are_the_steps_of_the_paper_and_of_the_code(spec: FamilySpec) -> None:
    steps = {}
    for name, preset in spec.presets.items():
        sampler = {**config(spec).sampler.model_dump(), **preset["sampler"]}
        steps[name] = config(spec, **{**preset, "sampler": sampler}).sampler.steps
    assert steps == ({"paper": 20, "code": 10} if spec is JEM_PP else {"paper": 5, "code": 10})
    assert steps["paper"] == spec.paper["sampler.steps"]


@both
def test_values_of_paper_and_code_are_keys_and_the_defaults_are_those_of_the_code(spec: FamilySpec) -> None:
    default = {setting.key: setting.default for setting in settings(spec.config)}
    assert set(spec.paper) - {"backbone"} <= default.keys()
    assert set(spec.released) <= default.keys()
    assert not set(spec.paper) & set(spec.released)
    stated = {**spec.released, **spec.paper}
    assert {key for key in stated.keys() & default.keys() if stated[key] != default[key]} <= {"sampler.steps"}
    assert BACKBONES.get(spec.paper["backbone"]).name == "wrn-28-10-batch"
    assert all(setting.description for setting in settings(spec.config))


class Mixing(nn.Module):
    """Every feature depends on every pixel, so that nothing which a sampler does to one of them passes unseen."""

    feature_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
        self.norm = nn.BatchNorm1d(6)

    def forward(self, scaled: Tensor) -> Tensor:
        mixed: Tensor = self.norm(scaled.flatten(1) @ self.mix)
        return torch.tanh(mixed) * 3


OTHER: Mapping[str, Any] = {
    "sampler.steps": 3,
    "sampler.inner_steps": 2,
    "sampler.step_size": 0.05,
    "sampler.noise": 0.2,
    "sampler.decay_power": 1.0,
    "sampler.bound": 0.01,
    "sampler.clamp": False,
    "sampler.start": "uniform",
    "sampler.jitter": 0.5,
    "sampler.batch_statistics": False,
    "sampler.companions": 2,
}
"""Other values of what serves a model that is trained already."""
ONLY: Mapping[str, Any] = {
    "sampler.buffer": 7,
    "sampler.reinit": 0.5,
    "augment_density": None,
    "px_weight": 0.5,
    "pyx_weight": 0.5,
    "rho": 0.1,
    "adaptive": False,
}
"""Other values of what only training reads; None for the opposite."""


def answers(spec: FamilySpec, values: dict[str, Any]) -> list[Tensor]:
    """Everything that evaluations and `bench sample` ask of a model with imported weights."""
    implementation = import_object(spec.implementation)
    assert isinstance(implementation, type)
    torch.manual_seed(1)  # the weights of a linear head
    family = implementation(config(spec, **values))
    model = family.build(Mixing(), K, SHAPE).eval()
    images = torch.rand(24, *SHAPE, generator=torch.Generator().manual_seed(2))
    family.after_training(model, lambda: [Batch(images, torch.arange(24) % K)])
    index = torch.arange(8)
    found = [model.logits(images), model.log_density(images), model.sample(index % K, seed=0, index=index)]
    return [tensor.detach() for tensor in found]


def nested(key: str, value: Any) -> dict[str, Any]:
    table, _, name = key.rpartition(".")
    return {table: {name: value}} if table else {name: value}


@both
def test_training_only_is_what_nothing_reads_of_a_trained_model(spec: FamilySpec) -> None:
    own = {
        setting.key: setting.default
        for setting in settings(spec.config)
        if setting.key.partition(".")[0] not in TrainingConfig.model_fields
    }
    assert own.keys() - spec.training_only == OTHER.keys()
    assert spec.training_only == own.keys() & ONLY.keys()
    plain = answers(spec, {})
    for key, value in OTHER.items():
        changed = answers(spec, nested(key, value))
        assert any(not torch.equal(a, b) for a, b in zip(plain, changed, strict=True)), key
    for key in spec.training_only:
        value = ONLY[key] if ONLY[key] is not None else not own[key]
        same = answers(spec, nested(key, value))
        assert all(torch.equal(a, b) for a, b in zip(plain, same, strict=True)), key


def test_passes_of_one_item_in_one_epoch() -> None:
    """A forward is 1, an update 3 for each of the three batches, a sampler step 2; SAM updates twice."""
    assert JEM_PP.passes(JEMPPConfig()) == 9 + 20
    assert SADA_JEM.passes(SADAJEMConfig()) == 18 + 10


@both
def test_batch_normalisation_is_warned_of_only_without_the_informative_start(spec: FamilySpec) -> None:
    assert not spec.warn(config(spec), "wrn-28-10-batch")
    (warning,) = spec.warn(config(spec, sampler={"start": "uniform"}), "wrn-28-10-batch")
    assert "use start = 'mixture'" in warning
    assert not spec.warn(config(spec, sampler={"start": "uniform"}), "wrn-28-10")


@both
def test_what_it_cannot_do_is_said_before_anything_runs(spec: FamilySpec) -> None:
    large = Task(num_classes=200, image_shape=(3, 64, 64), train=90_000, features=640)
    reasons = spec.unfit(config(spec, sampler={"buffer": 100}), large)
    assert set(reasons) == {"sampler.buffer", "sampler.start"}
    assert "112 GiB here and 8 at most: use 'uniform'" in reasons["sampler.start"]
    assert not spec.unfit(config(spec, sampler={"start": "uniform"}), large)
    assert not spec.unfit(config(spec), Task(num_classes=100, image_shape=(3, 32, 32), train=45_000, features=640))


@both
def test_a_model_starts_from_one_with_the_same_kind_of_start(spec: FamilySpec, flat: Callable[..., nn.Module]) -> None:
    assert spec.layout is not None
    assert JEM_PP.layout is not None
    layouts = {start: spec.layout(config(spec, sampler={"start": start})) for start in ("mixture", "uniform")}
    assert layouts["mixture"] == JEM_PP.layout(JEMPPConfig())
    assert layouts["uniform"] == FAMILIES.get("jem").layout(FAMILIES.get("jem").config())  # type: ignore[misc]
    names = {
        start: set(JEMPPClassifier(flat(), K, SHAPE, config(spec, sampler={"start": start}).sampler).state_dict())
        for start in layouts
    }
    assert names["mixture"] - names["uniform"] == {"mixture.mean", "mixture.factor"}
