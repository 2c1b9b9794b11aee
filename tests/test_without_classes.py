"""A family that has an exact density and generates, and does not classify: planned, trained, measured, checked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from bench.cli.main import cli
from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.family import Model
from bench.plugins.descriptions import family_problems
from bench.plugins.family_contract import FamilyContractError, checked_model
from bench.spec import FAMILIES, TrainingConfig

if TYPE_CHECKING:
    from tests.conftest import Project, Site

SPEC = """
from bench.spec import FamilySpec, UnlabelledConfig

GAUSSIAN = FamilySpec(
    name="gaussian",
    label="Gaussian",
    summary="Independent normal pixels.",
    source="textbooks",
    config=UnlabelledConfig,
    implementation="gaussian_family:Gaussian",
    version=1,
    classifies=False,
    capabilities=frozenset({"likelihood", "samples"}),
    needs_backbone=False,
)
"""
FAMILY = """
import torch
from torch import nn

from bench.family import Family, Model, Step


class Pixels(Model):
    def __init__(self, num_classes, image_shape):
        super().__init__(num_classes, image_shape)
        self.mean = nn.Parameter(torch.full(image_shape, 0.5))
        self.log_std = nn.Parameter(torch.zeros(image_shape))

    def log_density(self, images):
        return torch.distributions.Normal(self.mean, self.log_std.exp()).log_prob(images).flatten(1).sum(dim=1)

    def sample(self, labels, *, seed, index, steps=None, start=None):
        made = [torch.Generator().manual_seed(seed * 10**6 + int(row)) for row in index]
        rows = [torch.randn(self.image_shape, generator=one) for one in made]
        return (self.mean + self.log_std.exp() * torch.stack(rows)).detach().clamp(0, 1)


class Gaussian(Family):
    def build(self, backbone, num_classes, image_shape):
        return Pixels(num_classes, image_shape)

    def training_step(self, model, batches, state, iteration):
        return Step(-model.log_density(batches["train"].images).mean())
"""
SUITE = """
[suite]
name = "densities"
[data]
dataset = "digits"
[[model]]
family = "gaussian"
epochs = 8
lr     = 0.05
warmup = 0
sigma  = 0.0
[[model]]
family   = "softmax"
backbone = "wrn-10-1"
epochs   = 1
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind   = "ood"
sets   = ["uniform"]
scores = ["log-density", "approximate-mass", "energy"]
[[evaluation]]
kind   = "likelihood"
levels = 17
[[evaluation]]
kind      = "generation"
selection = "buffer-or-fresh"
[[evaluation]]
kind   = "transfer"
source = "gaussian"
eps    = ["8/255"]
steps  = 40
items  = 8
[[table]]
id      = "main"
columns = ["accuracy", "likelihood", "ood.log-density.auroc@uniform", "generation.fcd"]
"""


@pytest.fixture
def gaussian(site: Site) -> None:
    site.module("gaussian_spec", SPEC)
    site.module("gaussian_family", FAMILY)
    site.distribution("gaussian-family", "bench.families", {"gaussian": "gaussian_spec:GAUSSIAN"})


def test_a_suite_measures_what_it_has_and_says_what_it_lacks(project: Project, gaussian: None) -> None:
    outcome = project.bench.run(project.suite(SUITE), in_process=True, device="cpu")
    assert outcome.exit_code() == 0, outcome.summary
    jobs = {job.id: job for job in outcome.plan.jobs}
    records = {name: project.bench.store.folder(job.key).record_json() or {} for name, job in jobs.items()}
    stem = "gaussian/digits/seed1"
    assert jobs[f"{stem}/accuracy"].blocked == "Gaussian does not classify"
    assert jobs["softmax/digits/seed1/likelihood"].blocked == "softmax has no exact density"
    assert jobs["softmax/digits/seed1/transfer@8/255"].blocked == "Gaussian does not classify"

    training = records[f"{stem}/train"]
    assert training["selected_epoch"] == 8
    assert training.get("validation_accuracy") is None

    ood = {number["metric"]: number for number in records[f"{stem}/ood"]["numbers"]}
    assert ood["log-density.auroc"]["value"] > 0.99
    assert ood["approximate-mass.auroc"]["value"] is not None
    assert ood["energy.auroc"]["reason"] == "energy reads logits, and the model does not classify"

    # The expectation over the noise in closed form, of the density that was trained.
    (bits,) = records[f"{stem}/likelihood"]["numbers"]
    model: Any = project.bench.load_model("gaussian")
    mean, std = model.mean.detach().double().numpy(), model.log_std.detach().double().exp().numpy()
    test = load_splits(DATASETS.get("digits"), project.root, seed=0, validation=200).test
    values = np.round(test.unit_images().astype(np.float64) * 16)
    squared = ((values + 0.5) / 17 - mean) ** 2 + 1 / (12 * 17**2)
    nats = -0.5 * squared / std**2 - np.log(std) - 0.5 * math.log(2 * math.pi)
    assert bits["value"] == pytest.approx(-nats.mean() / math.log(2) + math.log2(17), rel=0.02)

    fcd = {number["argument"]: number["value"] for number in records[f"{stem}/generation"]["numbers"][:3]}
    assert fcd[""] < fcd["noise"]
    assert outcome.report is not None


def test_it_keeps_the_contract(project: Project, gaussian: None) -> None:
    done = CliRunner().invoke(cli, ["check-plugin", "gaussian"])
    assert done.exit_code == 0, done.output
    assert "outputs: log p(x) (N,), finite" in done.output
    assert "read-outs" not in done.output
    described = CliRunner().invoke(cli, ["describe", "gaussian"]).output
    assert "can: likelihood, samples" in described
    assert "read-outs" not in described


def test_a_family_without_classes_needs_a_schema_that_keeps_the_last_epoch(gaussian: None) -> None:
    spec = FAMILIES.get("gaussian")
    assert family_problems(spec) == []
    (problem,) = family_problems(replace(spec, config=TrainingConfig))
    assert "UnlabelledConfig" in problem
    assert spec.can == {"density", "likelihood", "samples"}


def test_what_is_built_agrees_with_the_spec() -> None:
    plain = Model(2, (1, 2, 2))
    assert checked_model(plain, 2, (1, 2, 2), "F", classifies=False) is plain
    with pytest.raises(FamilyContractError, match=r"expected a bench\.family\.Classifier"):
        checked_model(plain, 2, (1, 2, 2), "F")
    with pytest.raises(FamilyContractError, match=r"expected a bench\.family\.Model"):
        checked_model(torch.nn.Identity(), 2, (1, 2, 2), "F", classifies=False)


def test_a_model_without_a_density_or_samples_says_so() -> None:
    model: Any = Model(2, (1, 2, 2))
    with pytest.raises(NotImplementedError, match="has no density"):
        model.log_density(torch.zeros(1, 1, 2, 2))
    with pytest.raises(NotImplementedError, match="cannot generate"):
        model.sample(torch.zeros(1), seed=0, index=torch.zeros(1))
