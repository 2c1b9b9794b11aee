from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from bench_models import igebm_spec
from bench_models.igebm_spec import ConditionalIGEBMConfig, EnergyConfig, IGEBMConfig, IGEBMSamplerConfig
from pydantic import ValidationError
from torch import nn

from bench.optimizer import OptimizerConfig, learning_rate
from bench.registry import import_object
from bench.spec import FAMILIES, FamilySpec, Task, TrainingConfig, settings

SPECS = [igebm_spec.IGEBM, igebm_spec.IGEBM_CONDITIONAL]
by_name = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def test_specs_need_no_torch() -> None:
    code = "import sys, bench_models.igebm_spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@by_name
def test_they_arrive_through_their_entry_points(spec: FamilySpec) -> None:
    assert FAMILIES.get(spec.name) is spec


def test_only_the_conditional_model_classifies() -> None:
    assert [sorted(spec.can) for spec in SPECS] == [["density", "samples"], ["classes", "density", "samples"]]
    assert IGEBMConfig().select == "last"
    assert ConditionalIGEBMConfig().select == "best-validation"


@pytest.mark.parametrize("config", [IGEBMConfig, ConditionalIGEBMConfig])
def test_defaults_are_those_of_the_paper_where_it_states_them(config: type[EnergyConfig]) -> None:
    made: Any = config()
    assert (made.batch_size, made.lr, made.energy_weight, made.adam_clip) == (128, 1e-4, 1.0, 3.0)
    assert made.optimizer == OptimizerConfig(kind="adam", betas=(0.0, 0.999))
    assert (made.sampler.steps, made.sampler.buffer, made.sampler.reinit) == (60, 10_000, 0.05)
    assert made.spectral_norm
    assert {learning_rate(made, i, 10) for i in (0, 700, 1400)} == {1e-4}


def test_the_sampler_is_that_of_the_code_on_another_scale() -> None:
    """x = 2 u - 1: a step 10 * clip(dE/du, 0.01) of u with noise 0.005, for dE/du = 2 dE/dx."""
    ours = IGEBMSamplerConfig()
    for slope in (0.001, 0.004, 0.3):  # dE/dx
        of_u = 10 * min(2 * slope, 0.01)
        assert ours.step_size * min(slope, ours.gradient_clip) == pytest.approx(2 * of_u)
    assert ours.noise == 2 * 0.005


@by_name
def test_presets_are_the_papers_and_the_codes(spec: FamilySpec) -> None:
    made: dict[str, Any] = {name: spec.config.model_validate(values) for name, values in spec.presets.items()}
    assert set(made) == {"paper", "code"}
    assert (made["paper"].lr, made["paper"].sampler.buffer) == (1e-4, 10_000)
    assert (made["code"].lr, made["code"].sampler.buffer) == (3e-4, 50_000)
    assert made["code"].epochs == {"igebm": 310, "igebm-conditional": 191}[spec.name]
    for preset in made.values():
        assert preset.sigma == pytest.approx(2 / 256 / 12**0.5, abs=1e-5)
        for key, value in {**spec.paper, **spec.released}.items():
            if key in ("backbone", "lr", "sampler.buffer"):
                continue
            found: Any = preset
            for part in key.split("."):
                found = getattr(found, part)
            assert found == value, key


@by_name
def test_what_it_refers_to_exists_and_is_described(spec: FamilySpec) -> None:
    found = {setting.key: setting for setting in settings(spec.config)}
    assert set(spec.paper) - {"backbone"} <= set(found)
    assert set(spec.released) <= set(found)
    assert spec.training_only <= set(found)
    assert all(setting.description for setting in found.values())


def test_costs_in_passes() -> None:
    """A forward is 1, an update of two batches 6, a sampler step 2."""
    for spec in SPECS:
        assert spec.passes(spec.config()) == 126
        assert spec.passes(spec.config.model_validate({"sampler": {"steps": 5}})) == 16


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"optimizer": "sgd"}, "adam_clip needs the second moments"),
        ({"energy_weight": -1.0}, "energy_weight"),
        ({"sampler": {"gradient_clip": -0.1}}, "gradient_clip"),
        ({"sampler": {"reinit": 1.5}}, "reinit"),
        ({"sampler": {"decay_power": 1.0}}, "decay_power"),
    ],
)
def test_impossible_values_name_their_key(values: dict[str, object], key: str) -> None:
    for spec in SPECS:
        with pytest.raises(ValidationError, match=key):
            spec.config.model_validate(values)


def test_settings_of_one_of_the_two() -> None:
    with pytest.raises(ValidationError, match="chains"):
        IGEBMConfig.model_validate({"sampler": {"chains": "any"}})
    with pytest.raises(ValidationError, match="select"):
        IGEBMConfig.model_validate({"select": "best-validation"})
    assert IGEBMConfig.model_validate({"optimizer": "sgd", "adam_clip": 0.0}).optimizer.kind == "sgd"


def test_only_classes_need_slots_of_the_buffer() -> None:
    task = Task(num_classes=10, image_shape=(1, 8, 8))
    small = {"sampler": {"buffer": 5}}
    assert not igebm_spec.IGEBM.unfit(IGEBMConfig.model_validate(small), task)
    assert set(igebm_spec.IGEBM_CONDITIONAL.unfit(ConditionalIGEBMConfig.model_validate(small), task)) == {
        "sampler.buffer"
    }


def test_layouts_differ_where_weights_do() -> None:
    layouts = {
        spec.layout(spec.config.model_validate({"spectral_norm": on})) if spec.layout else None
        for spec in SPECS
        for on in (True, False)
    }
    assert len(layouts) == 4
    assert FAMILIES.get("jem").layout(None) in layouts  # type: ignore[misc]


class Mixing(nn.Module):
    """Every feature depends on every pixel."""

    feature_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(6, 6)

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.mix(scaled.flatten(1)) * 9)


def answers(spec: FamilySpec, values: Mapping[str, object]) -> list[torch.Tensor]:
    """What evaluations ask of a model with imported weights."""
    implementation: Any = import_object(spec.implementation)
    torch.manual_seed(1)
    model = implementation(spec.config.model_validate(values)).build(Mixing(), 4, (1, 2, 3)).eval()
    index, images = torch.arange(8), torch.rand(8, 1, 2, 3, generator=torch.Generator().manual_seed(2))
    return [model.log_density(images).detach(), model.sample(index % 4, seed=0, index=index)]


OTHER = {
    "spectral_norm": False,
    "sampler.steps": 3,
    "sampler.step_size": 0.5,
    "sampler.gradient_clip": 0.0001,
    "sampler.noise": 0.2,
    "sampler.clamp": False,
}


@by_name
def test_training_only_is_what_nothing_reads_of_a_trained_model(spec: FamilySpec) -> None:
    own = [s.key for s in settings(spec.config) if s.key.partition(".")[0] not in TrainingConfig.model_fields]
    assert set(own) - spec.training_only == set(OTHER)
    plain = answers(spec, {})
    for key, value in OTHER.items():
        table, _, name = key.rpartition(".")
        changed = answers(spec, {table: {name: value}} if table else {name: value})
        assert any(not torch.equal(a, b) for a, b in zip(plain, changed, strict=True)), key
    training: dict[str, Any] = {"energy_weight": 0.3, "adam_clip": 1.0, "sampler": {"buffer": 7, "reinit": 0.5}}
    if "sampler.chains" in spec.training_only:
        training["sampler"]["chains"] = "class"
    for a, b in zip(plain, answers(spec, training), strict=True):
        assert torch.equal(a, b)
