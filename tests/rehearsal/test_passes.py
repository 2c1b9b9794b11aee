"""What reads a trained model, on the device that is none: outputs, gradients, samples, features of Inception."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.attacks.inspection import inspect_outputs
from bench.data.splits import Splits
from bench.evaluate.features import JudgeNetwork
from bench.evaluate.inception_network import Inception
from bench.evaluate.samples import center_distances, generated
from bench.family import Classifier
from bench.predict.outputs import predict
from tests.rehearsal.bounds import hold_sampler
from tests.rehearsal.device import DEVICE, rehearsed

GENERATIVE = ("jem", "jem-pp", "gmmc-gen")
Models = Mapping[str, Classifier]


def silent(_: Any) -> None:
    pass


@pytest.mark.parametrize("family", ["softmax", *GENERATIVE])
@pytest.mark.parametrize("output", ["forward", "gradient"])
def test_outputs_are_those_of_a_cpu(models: Models, few_digits: Splits, family: str, output: Any) -> None:
    expected = predict(output, models[family], few_digits.validation, silent)
    with rehearsed():
        found = predict(output, copy.deepcopy(models[family]).to(DEVICE), few_digits.validation, silent)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("family", GENERATIVE)
def test_samples_are_those_of_a_cpu_and_their_sampler_never_waits(models: Models, family: str) -> None:
    expected = generated(models[family], "fresh-k-steps", 20, seed=1, steps=3, num_classes=10)
    with rehearsed() as log:
        model = copy.deepcopy(models[family]).to(DEVICE)
        log.clear()
        found = generated(model, "fresh-k-steps", 20, seed=1, steps=3, num_classes=10)
        hold_sampler(log)
        assert torch.equal(found.images.cpu(), expected.images)


@pytest.mark.parametrize("family", GENERATIVE)
@pytest.mark.parametrize("selection", ["buffer-random-n", "buffer-top-k-per-class"])
def test_buffers_are_selected_as_on_a_cpu(models: Models, family: str, selection: Any) -> None:
    options: dict[str, Any] = {"seed": 1, "steps": None, "num_classes": 10, "per_class": 3}
    expected = generated(models[family], selection, 12, **options)
    distances = center_distances(models[family], expected)
    with rehearsed():
        model: Any = copy.deepcopy(models[family]).to(DEVICE)
        stored = model.stored
        model.stored = type(stored)(*(tensor.to(DEVICE) for tensor in (stored.images, stored.labels, stored.age)))
        found = generated(model, selection, 12, **options)
        assert torch.equal(found.images.cpu(), expected.images)
        assert found.counts == expected.counts
        there = center_distances(model, found)
    assert (there is None) == (distances is None)
    if there is not None and distances is not None:
        np.testing.assert_array_equal(there, distances)


def test_features_of_a_judge_and_the_look_at_a_model_work_there(
    models: Models, pictures: tuple[Tensor, Tensor]
) -> None:
    images, _ = pictures
    expected = JudgeNetwork(models["softmax"], "digest")
    with rehearsed():
        there = copy.deepcopy(models["softmax"]).to(DEVICE)
        judge = JudgeNetwork(there, "digest")
        features = judge.features(images, silent)
        np.testing.assert_array_equal(features, expected.features(images, silent))
        np.testing.assert_array_equal(judge.log_probs(features), expected.log_probs(features))
        traits = inspect_outputs(there, images.to(DEVICE))
    assert traits == inspect_outputs(models["softmax"], images)


@pytest.mark.parametrize("resize", ["pytorch", "tf1"])
def test_features_of_inception_are_those_of_a_cpu(tmp_path: Path, resize: Any) -> None:
    """With random weights, which give features but no FID."""
    from pytorch_fid import inception

    torch.manual_seed(0)
    with mock.patch.object(
        inception,
        "load_state_dict_from_url",
        return_value=inception._inception_v3(num_classes=1008, aux_logits=False, weights=None).state_dict(),
    ):
        weights = inception.fid_inception_v3().state_dict()
    path = tmp_path / "random.pth"
    torch.save(weights, path)
    images = torch.rand(2, 1, 8, 8)
    expected = Inception(path, "cpu", resize=resize)
    with rehearsed():
        network = Inception(path, DEVICE.type, resize=resize)
        features = network.features(images, silent)
        assert features.shape == (2, 2048)
        np.testing.assert_array_equal(features, expected.features(images, silent))
        np.testing.assert_array_equal(network.log_probs(features), expected.log_probs(features))
