from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from bench_models import mmc_spec, specs
from bench_models.configs import GMMCGenConfig, GMMCJointConfig, JEMConfig, SoftmaxConfig
from pydantic import BaseModel, ValidationError
from torch import nn

from bench.family import Classifier, Family
from bench.optimizer import learning_rate
from bench.registry import import_object
from bench.spec import BACKBONES, FAMILIES, FamilySpec, TrainingConfig, settings

FAMILY_SPECS = [specs.SOFTMAX, specs.JEM, specs.GMMC_DIS, specs.GMMC_GEN, specs.GMMC_JOINT, mmc_spec.MMC]
by_name = pytest.mark.parametrize("spec", FAMILY_SPECS, ids=lambda spec: spec.name)


def build(spec: FamilySpec, backbone: nn.Module) -> tuple[Family[object], Classifier]:  # type: ignore[type-var]
    implementation = import_object(spec.implementation)
    assert isinstance(implementation, type)
    assert issubclass(implementation, Family)
    values: dict[str, object] = {}
    if "samples" in spec.capabilities:
        values = {"sampler": {"steps": 1, "buffer": 12}}
    family = implementation(spec.config.model_validate(values))
    return family, family.build(backbone, 4, (1, 2, 3))


def test_specs_need_no_torch() -> None:
    code = "import sys, bench_models.specs, bench_models.mmc_spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@by_name
def test_a_family_arrives_through_its_entry_point(spec: FamilySpec) -> None:
    assert FAMILIES.get(spec.name) is spec


@by_name
def test_readouts_and_capabilities_are_what_the_spec_says(spec: FamilySpec, flat: Callable[..., nn.Module]) -> None:
    family, model = build(spec, flat())
    assert isinstance(model, Classifier)
    assert tuple(model.readouts()) == spec.readouts
    state = family.start(model, torch.Generator())
    assert (state is not None) == ("samples" in spec.capabilities)
    labels, index = torch.tensor([0, 3]), torch.tensor([5, 6])
    if "samples" in spec.capabilities:
        assert state is not None
        assert model.stored_samples() is None
        family.attach(model, state.state_dict())
        stored = model.stored_samples()
        assert stored is not None
        assert stored.images.shape == (12, 1, 2, 3)
        assert stored.images.min() >= 0
        assert stored.images.max() <= 1
        assert (stored.labels.dtype, stored.age.dtype) == (torch.int64, torch.int64)
        assert model.sample(labels, seed=0, index=index).shape == (2, 1, 2, 3)
    else:
        with pytest.raises(NotImplementedError, match="generate"):
            model.sample(labels, seed=0, index=index)


def test_chains_of_jem_belong_to_no_class_and_those_of_gmmc_to_theirs(flat: Callable[..., nn.Module]) -> None:
    expected = {"jem": torch.full((12,), -1), "gmmc-gen": torch.arange(12) // 3}
    for spec in (specs.JEM, specs.GMMC_GEN):
        family, model = build(spec, flat())
        state = family.start(model, torch.Generator())
        assert state is not None
        family.attach(model, state.state_dict())
        stored = model.stored_samples()
        assert stored is not None
        assert torch.equal(stored.labels, expected[spec.name])


def merged(config: type[BaseModel], preset: dict[str, object]) -> dict[str, object]:
    values = {name: value for name, value in config().model_dump().items() if name in config.model_fields}
    for key, value in preset.items():
        current = values[key]
        if isinstance(value, dict) and current != "adam":  # an optimiser, in short
            assert isinstance(current, dict)
            assert set(value) <= set(current)
            values[key] = {**current, **value}
        else:
            values[key] = value
    return values


@by_name
def test_presets_are_valid_and_change_something(spec: FamilySpec) -> None:
    for name, preset in spec.presets.items():
        try:
            config = spec.config.model_validate(merged(spec.config, dict(preset)))
        except (KeyError, ValidationError) as error:
            pytest.fail(f"{spec.name}, preset {name}: {error}")
        if spec.name in ("jem", "gmmc-joint"):
            assert config != spec.config()


def test_preset_paper_of_gmmc_gen_takes_the_paper_at_its_word() -> None:
    """Protocol, section 6, rows 1, 4, 5 and 6."""
    config = GMMCGenConfig.model_validate(merged(GMMCGenConfig, dict(specs.GMMC_GEN.presets["paper"])))
    assert config.epochs == 150
    assert (config.sampler.step_size, config.sampler.labels, config.sampler.clamp) == (1.0, "buffer", False)
    assert (config.sampler.steps, config.sampler.reinit, config.beta) == (20, 0.025, 0.5)


def test_preset_wrn_bn_of_softmax_is_the_training_of_the_authors_of_wide_resnets() -> None:
    """``train.lua`` with ``scripts/train_cifar.sh`` of szagoruyko/wide-residual-networks."""
    config = SoftmaxConfig.model_validate(merged(SoftmaxConfig, dict(specs.SOFTMAX.presets["wrn-bn"])))
    assert str(config.optimizer) == "sgd, momentum 0.9, Nesterov, weight decay 0.0005"
    assert (config.lr, config.batch_size, config.epochs) == (0.1, 128, 200)
    rates = [learning_rate(config, epoch * 10, 10) for epoch in (0, 59, 60, 119, 120, 159, 160, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


@by_name
def test_the_papers_values_are_keys_of_the_schema(spec: FamilySpec) -> None:
    known = {setting.key for setting in settings(spec.config)} | {"backbone"}
    assert set(spec.paper) <= known
    assert spec.paper["backbone"] == ("ResNet-32" if spec.name == "mmc" else "wrn-28-10")


@by_name
def test_every_hyper_parameter_is_described(spec: FamilySpec) -> None:
    for setting in settings(spec.config):
        assert setting.description, setting.key


class Mixing(nn.Module):
    """Every feature depends on every pixel, so that nothing which a sampler does to one of them passes unseen."""

    feature_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        return torch.tanh(scaled.flatten(1) @ self.mix) * 3


OTHER = {
    "sampler.steps": 3,
    "sampler.step_size": 0.5,
    "sampler.noise": 0.2,
    "sampler.decay_power": 1.0,
    "sampler.clamp": None,
    "sampler.mode": "inject",
    "sampler.gamma": 0.3,
    "sampler.gamma_source": "running",
    "scale": 3.0,
    "features": 5,
}
"""Other values of what serves a model that is trained already; None for the opposite."""


def answers(spec: FamilySpec, values: dict[str, object]) -> list[torch.Tensor]:
    """Everything that evaluations and `bench sample` ask of a model with imported weights."""
    implementation = import_object(spec.implementation)
    assert isinstance(implementation, type)
    torch.manual_seed(1)  # the weights of a linear head
    model = implementation(spec.config.model_validate(values)).build(Mixing(), 4, (1, 2, 3))
    if "gamma2" in dict(model.named_buffers()):
        model.gamma2.fill_(0.04)
    index = torch.arange(8)
    images = torch.rand(8, 1, 2, 3, generator=torch.Generator().manual_seed(2))
    found = [model.logits(images), model.log_density(images)]
    found += [readout(model.features(images).double()) for readout in model.readouts().values()]
    if "samples" in spec.capabilities:
        found.append(model.sample(index % 4, seed=0, index=index))
    return [tensor.detach() for tensor in found]


@by_name
def test_training_only_is_what_nothing_reads_of_a_trained_model(spec: FamilySpec) -> None:
    """Beside imported weights these settings are refused, all others are not."""
    own = [
        setting for setting in settings(spec.config) if setting.key.partition(".")[0] not in TrainingConfig.model_fields
    ]
    assert spec.training_only <= {setting.key for setting in own}
    lasting = {setting.key: setting.default for setting in own if setting.key not in spec.training_only}
    assert set(lasting) <= set(OTHER), "say here what else of a setting that a trained model reads"
    plain = answers(spec, {})
    for key, default in lasting.items():
        value = OTHER[key] if OTHER[key] is not None else not default
        table, _, name = key.rpartition(".")
        changed = answers(spec, {table: {name: value}} if table else {name: value})
        assert any(not torch.equal(a, b) for a, b in zip(plain, changed, strict=True)), key


def test_other_settings_of_training_change_nothing_of_a_trained_model() -> None:
    other: dict[str, object] = {"sigma": 0.5, "batch_size": 3, "lr": 1.0, "beta": 0.1, "ramp_epochs": 2}
    other |= {"sampler": {"buffer": 7, "reinit": 0.5, "labels": "buffer"}}
    spec = specs.GMMC_JOINT
    for a, b in zip(answers(spec, {}), answers(spec, other), strict=True):
        assert torch.equal(a, b)
    other = {"sampler": {"buffer": 7, "reinit": 0.5}, "augment_density": False, "px_weight": 0.5, "pyx_weight": 0.5}
    for a, b in zip(answers(specs.JEM, {}), answers(specs.JEM, other), strict=True):
        assert torch.equal(a, b)


def test_passes_of_one_item_in_one_epoch() -> None:
    """A forward is 1, an update 3, a sampler step 2 (recipes, section 3: 49 for JEM and 46 for Gen at 20 steps)."""
    assert specs.SOFTMAX.passes(SoftmaxConfig()) == 3
    assert specs.JEM.passes(JEMConfig()) == 49
    assert specs.GMMC_GEN.passes(GMMCGenConfig()) == 46
    assert specs.GMMC_JOINT.passes(GMMCJointConfig(epochs=10, start_generative=4)) == pytest.approx(
        (4 * 3 + 6 * 46) / 10
    )


def test_facts_about_the_papers_backbone() -> None:
    facts = specs.WIDE_RESNET.describe("wrn-28-10", (3, 32, 32))
    assert (facts["depth"], facts["width"], facts["blocks per stage"], facts["features"]) == (28, 10, 4, 640)
    assert facts["multiply-adds"] == pytest.approx(5.95e9, rel=2e-3)  # protocol 1.1


def test_backbones_are_named_by_a_pattern() -> None:
    assert BACKBONES.get("wrn-16-4").name == "wrn-16-4"
    make = import_object(BACKBONES.get("wrn-16-4").implementation)
    assert callable(make)
    assert make("wrn-16-4", 3).feature_dim == 256
