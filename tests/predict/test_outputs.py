from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp, softmax
from torch import Tensor, nn

from bench.data.spec import Split
from bench.family import Classifier
from bench.predict.outputs import BATCH, forward_outputs, gradient_outputs, predict
from bench.weights import load as trained
from bench.weights.find import Blueprint

SHAPE = (1, 2, 3)
K = 4


class Linear(Classifier):
    """Logits W (2x - 1) + b; with two read-outs."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__(K, SHAPE)
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(scale * torch.randn(K, 6, generator=generator))
        self.bias = nn.Parameter(torch.randn(K, generator=generator))

    def features(self, images: Tensor) -> Tensor:
        return (2 * images - 1).flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        return features @ self.weight.to(features.dtype).T + self.bias.to(features.dtype)

    def readouts(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {
            "sharp": lambda features: torch.log_softmax(2 * self.classify(features), dim=1),
            "native": super().readouts()["native"],
        }

    def by_hand(self, images: NDArray[Any]) -> NDArray[np.float64]:
        weight, bias = self.weight.detach().double().numpy(), self.bias.detach().double().numpy()
        result: NDArray[np.float64] = (2 * images.astype(np.float64) - 1).reshape(len(images), -1) @ weight.T + bias
        return result


def split(n: int, dtype: type = np.float32) -> Split:
    generator = np.random.default_rng(1)
    images: NDArray[Any]
    if dtype is np.uint8:
        images = generator.integers(0, 256, (n, *SHAPE), dtype=np.uint8)
    else:
        images = generator.random((n, *SHAPE), dtype=np.float32)
    return Split(images, generator.integers(0, K, n), generator.permutation(10 * n)[:n])


def silent(_: Mapping[str, Any]) -> None:
    pass


def test_forward_outputs_of_a_linear_model() -> None:
    model, items = Linear().eval(), split(20)
    found = predict("forward", model, items, silent)
    logits = model.by_hand(items.images)
    assert set(found) == {"logits", "features", "log_density", "readout/sharp", "readout/native", "ids", "labels"}
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(found["features"], (2 * items.images - 1).reshape(20, 6), atol=1e-6)
    np.testing.assert_allclose(found["log_density"], logsumexp(logits, axis=1), atol=1e-5)
    np.testing.assert_allclose(found["readout/native"], log_softmax(logits, axis=1), atol=1e-6)
    np.testing.assert_allclose(found["readout/sharp"], log_softmax(2 * logits, axis=1), atol=1e-6)
    np.testing.assert_array_equal(found["ids"], items.ids)
    np.testing.assert_array_equal(found["labels"], items.labels)
    # Read-outs are in double precision; the order is that of the model, whose first is the default.
    assert [found[f"readout/{name}"].dtype for name in model.readouts()] == [np.float64, np.float64]
    assert [name for name in found if name.startswith("readout/")] == ["readout/sharp", "readout/native"]
    assert {found[name].dtype for name in ("logits", "features", "log_density")} == {np.dtype(np.float32)}


def test_integer_images_are_seen_in_the_unit_box() -> None:
    model, items = Linear().eval(), split(10, np.uint8)
    found = predict("forward", model, items, silent)
    np.testing.assert_allclose(found["logits"], model.by_hand(items.images / 255.0), atol=1e-5)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_gradient_norm_of_a_linear_model(scale: float) -> None:
    """D/dx logsumexp(W (2x - 1) + b) = 2 W^T softmax: pixels are in [0, 1], which doubles the inner gradient."""
    model, items = Linear(scale).eval(), split(30)
    found = predict("gradient", model, items, silent)
    posterior = softmax(model.by_hand(items.images), axis=1)
    expected = np.linalg.norm(2 * posterior @ model.weight.detach().double().numpy(), axis=1)
    assert set(found) == {"gradient_norm", "ids", "labels"}
    np.testing.assert_allclose(found["gradient_norm"], expected, rtol=1e-4)


def test_gradient_norms_leave_the_model_alone() -> None:
    model = Linear().eval()
    with torch.inference_mode(False):
        gradient_outputs(model, torch.rand(3, *SHAPE))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("family", ["softmax", "gmmc-dis"])
@pytest.mark.parametrize("measure", [forward_outputs, gradient_outputs], ids=["forward", "gradient"])
def test_an_item_does_not_depend_on_its_batch(family: str, measure: Callable[..., dict[str, Any]]) -> None:
    spec = Blueprint(family=family, backbone="wrn-10-1", config={}, seed=1)
    _, model = trained.build(spec, 10, (1, 8, 8), "cpu")
    model.eval()
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = measure(model, images)
    for rows in ([4], [8, 0, 3], list(range(8, -1, -1))):
        for name, values in measure(model, images[rows]).items():
            np.testing.assert_allclose(values, whole[name][rows], rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("n", [1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 5])
@pytest.mark.parametrize("output", ["forward", "gradient"])
def test_any_number_of_items_in_order_with_progress(n: int, output: Any) -> None:
    model, items, told = Linear().eval(), split(n), []
    found = predict(output, model, items, lambda facts: told.append((facts["done"], facts["total"])))
    assert {len(values) for values in found.values()} == {n}
    np.testing.assert_array_equal(found["ids"], items.ids)
    expected = [*range(BATCH, n, BATCH), n]
    assert told == [(done, n) for done in expected]
    direct = (forward_outputs if output == "forward" else gradient_outputs)(model, torch.from_numpy(items.images))
    for name, values in direct.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("output", ["forward", "gradient"])
def test_outputs_of_the_gpu_are_those_of_the_cpu(output: Any) -> None:
    model, items = Linear().eval(), split(20)
    on_cpu = predict(output, model, items, silent)
    on_gpu = predict(output, model.to("cuda"), items, silent)
    for name, values in on_cpu.items():
        np.testing.assert_allclose(on_gpu[name], values, rtol=1e-4, atol=1e-4)


class Narrow(Linear):
    """Gives its logits in a narrow type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def classify(self, features: Tensor) -> Tensor:
        return super().classify(features).to(self.dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_are_stored_as_float32(dtype: torch.dtype) -> None:
    arrays = predict("forward", Narrow(dtype), split(5), silent)
    assert arrays["logits"].dtype == arrays["log_density"].dtype == np.float32
    np.testing.assert_allclose(arrays["logits"], Narrow(dtype).by_hand(split(5).images), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_stored_as_they_are(bad: float) -> None:
    """What they mean is decided where numbers are made of them."""
    model = Linear()
    with torch.no_grad():
        model.bias[0] = bad
    arrays = predict("forward", model, split(5), silent)
    assert (~np.isfinite(arrays["logits"])).sum() == 5
    assert arrays["logits"].shape == (5, K)
