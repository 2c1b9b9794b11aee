from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.evaluate.features import JudgeNetwork
from bench.evaluate.generation import GenerationConfig
from bench.evaluate.judge import BACKBONE, FAMILY, JUDGE, JudgeConfig
from bench.evaluate.judge_network import JudgeClassifier, JudgeFamily, build_backbone
from bench.family import Batch, Iteration
from bench.registry import import_object
from bench.spec import BACKBONES, FAMILIES
from bench.train.loop import Trainer
from bench.weights import load as trained
from bench.weights.find import Blueprint


def classifier(shape: tuple[int, int, int], classes: int = 10) -> JudgeClassifier:
    torch.manual_seed(0)
    return JudgeFamily(JudgeConfig()).build(build_backbone("judge-cnn", shape[0]), classes, shape).eval()


def test_it_is_found_by_reference_and_registered_nowhere() -> None:
    """No suite can train or evaluate the judge as a model of its own."""
    assert import_object(JUDGE.family) is FAMILY
    assert import_object(JUDGE.backbone) is BACKBONE
    assert FAMILIES.get(JUDGE.family) is FAMILY
    assert BACKBONES.get(JUDGE.backbone) is BACKBONE
    assert "judge" not in FAMILIES.names()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_features_and_facts(shape: tuple[int, int, int]) -> None:
    model = classifier(shape)
    x = torch.rand(4, *shape)
    assert model.features(x).shape == (4, 128)
    assert model(x).shape == (4, 10)
    facts = BACKBONE.describe("judge-cnn", shape)
    assert facts["features"] == 128
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.backbone.parameters())


def test_its_network_has_one_name() -> None:
    with pytest.raises(ValueError, match="judge-cnn"):
        BACKBONE.parse("judge")


def test_a_step_is_the_mean_cross_entropy() -> None:
    model = classifier((1, 8, 8))
    x, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    where = Iteration(0, 0, 1, torch.Generator())
    step = JudgeFamily(JudgeConfig()).training_step(model, {"train": Batch(x, labels)}, None, where)
    assert step.loss.item() == pytest.approx(functional.cross_entropy(model(x), labels).item(), rel=1e-6)


def test_outputs_do_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier((1, 8, 8))
    x = torch.rand(9, 1, 8, 8)
    network = JudgeNetwork(model, "digest")
    features = network.features(x, lambda _: None)
    log_probs = network.log_probs(features)
    assert (features.dtype, log_probs.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(features, model.features(x).detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(log_probs, torch.log_softmax(model(x), dim=1).detach().numpy(), atol=1e-5)
    monkeypatch.setattr("bench.evaluate.features.BATCH", 4)
    in_parts = network.features(x, lambda _: None)
    np.testing.assert_allclose(in_parts, features, atol=1e-6)
    np.testing.assert_allclose(network.log_probs(in_parts), log_probs, atol=1e-6)


def test_it_learns_the_digits_well_enough_to_judge_them() -> None:
    splits = load_splits(DATASETS.get("digits"), Path("/"), seed=2)
    spec = Blueprint(family=JUDGE.family, backbone=JUDGE.backbone, config={}, seed=0)
    family, model = trained.build(spec, 10, (1, 8, 8), "cpu")
    Trainer(family, model, splits, augmentation="none", seed=0).run()
    network = JudgeNetwork(model, "digest")
    log_probs = network.log_probs(network.features(torch.from_numpy(splits.test.unit_images()), lambda _: None))
    assert (log_probs.argmax(1) == splits.test.labels).mean() > GenerationConfig().least_judge
