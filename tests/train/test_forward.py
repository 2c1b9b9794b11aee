"""The backbone in bfloat16, pass by pass, and the flags around training steps. Whole trainings are in
``test_forward_training``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from bench_models.gmmc import GMMCClassifier, center_regression
from bench_models.langevin import regress_to, sgld
from bench_models.softmax import LinearClassifier
from bench_models.wide_resnet import build
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.precision import check_bf16
from bench.train.forward import Forward, layout

K, SHAPE = 4, (1, 8, 8)


class Linear(nn.Module):
    """phi(x) = W x for flat images, which autocast computes in bfloat16."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.feature_dim = len(weight)
        self.weight = nn.Parameter(weight)

    def forward(self, scaled: Tensor) -> Tensor:
        return nn.functional.linear(scaled.flatten(1), self.weight)


def images(n: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def classifier(name: str = "wrn-10-1") -> LinearClassifier:
    torch.manual_seed(0)
    return LinearClassifier(build(name, 1), K, SHAPE).train()


def rounded(*shape: int, seed: int, scale: float = 1.0) -> Tensor:
    """Random float32 numbers that bfloat16 holds exactly."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale
    return drawn.bfloat16().float()


# --- bfloat16 ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["wrn-10-1", "wrn-10-1-batch", "wrn-10-1-layer"])
def test_only_the_backbone_computes_in_bfloat16(name: str) -> None:
    model = classifier(name)
    stem: Any = model.backbone.stem
    inside: list[torch.dtype] = []
    stem.register_forward_hook(lambda _module, _inputs, out: inside.append(out.dtype))
    forward = Forward(model, "bf16")
    with forward.training():
        features = model.features(images())
        logits = model.classify(features)
    assert inside == [torch.bfloat16]
    assert features.dtype == logits.dtype == torch.float32
    assert torch.equal(logits, nn.functional.linear(features, model.head.weight, model.head.bias))
    # A mean over positions has more digits than bfloat16.
    assert not torch.equal(features, features.bfloat16().float())
    exact = model.features(images())
    assert inside[1:] == [torch.float32]
    assert 0 < (features - exact).abs().max() < 0.03 * exact.abs().max() + 0.01
    logits.sum().backward()  # type: ignore[no-untyped-call]
    assert {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert forward.facts() == {"precision": "bf16", "cudnn": "deterministic"}


@settings(deadline=None, max_examples=40)
@given(scale=st.floats(1, 1e4), seed=st.integers(0, 2**31))
def test_energies_lose_no_digits_after_the_backbone(scale: float, seed: int) -> None:
    """W = I and images that bfloat16 holds: features are exact, and energies those of float32 whatever the centers'
    norm. In bfloat16 they would be wrong in the third digit.
    """
    model = GMMCClassifier(Linear(torch.eye(8)), K, (1, 2, 4), scale)
    scaled = rounded(5, 1, 2, 4, seed=seed, scale=scale / 3)
    with Forward(model, "bf16").training():
        features = model.backbone(scaled)
        energies = -model.classify(features)
        labelled = center_regression(features, model.centers[torch.arange(5) % K])
    assert torch.equal(features, scaled.flatten(1))
    exact = 0.5 * (scaled.flatten(1).double()[:, None] - model.centers.double()).square().sum(2)
    assert energies.dtype == labelled.dtype == torch.float32
    torch.testing.assert_close(energies.double(), exact, rtol=2e-6, atol=1e-6 * scale**2)
    torch.testing.assert_close(labelled.double(), exact[range(5), [i % K for i in range(5)]], rtol=2e-6, atol=0)
    assert (exact.bfloat16().double() / exact - 1).abs().max() > 1e-4


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31))
def test_input_gradients_reach_the_sampler_in_float32(seed: int) -> None:
    """x - step W^T (W x - z): the steps are far below the 2^-8 that bfloat16 resolves near 1, and none is lost."""
    weight, scaled, z = rounded(3, 8, seed=seed), rounded(5, 1, 2, 4, seed=seed + 1), rounded(5, 3, seed=seed + 2)
    model = LinearClassifier(Linear(weight), K, (1, 2, 4))
    with Forward(model, "bf16").training():
        moved = regress_to(model.backbone, scaled, z, steps=1, step_size=1e-5, clamp=None)
        drifted = sgld(lambda x: model.backbone(x).sum(1), scaled, steps=1, step_size=1e-5, noise=0)
    x = scaled.flatten(1).double()
    gradient = (x @ weight.double().T - z.double()) @ weight.double()
    assert moved.dtype == drifted.dtype == torch.float32
    size = gradient.abs().max().item() + weight.abs().sum().item()
    torch.testing.assert_close((moved.flatten(1).double() - x) / -1e-5, gradient, rtol=0, atol=0.05 * size + 0.1)
    expected = weight.double().sum(0).expand(5, -1)
    torch.testing.assert_close((drifted.flatten(1).double() - x) / 1e-5, expected, rtol=0.02, atol=0.1)


def test_a_gpu_without_bfloat16_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def supported(*, including_emulation: bool) -> bool:
        asked.append(including_emulation)
        return False

    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    with pytest.raises(ValueError, match="Old GPU has no bfloat16"):
        check_bf16(torch.device("cuda:0"))
    assert asked == [False]
    check_bf16(torch.device("cpu"))


# --- the module around it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_without_bfloat16_the_backbone_is_run_as_it_is(precision: str) -> None:
    model = classifier()
    with Forward(model, precision).training():
        assert "forward" not in vars(model.backbone)


def test_a_forward_of_the_instance_comes_back() -> None:
    model = classifier()
    own: Any = model.backbone.forward
    backbone: Any = model.backbone
    calls: list[int] = []

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        out: Tensor = own(x)
        return out

    backbone.forward = counted
    with Forward(model, "bf16").training():
        model.features(images())
    assert vars(backbone)["forward"] is counted
    assert calls == [6]


def test_models_on_which_it_would_have_no_effect_are_refused() -> None:
    model = classifier()
    bare = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"Linear has no attribute 'backbone'.*precision bf16"):
        Forward(bare, "bf16")  # type: ignore[arg-type]
    Forward(bare, "float32")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="never calls the backbone"), Forward(model, "bf16").training():
        model.classify(torch.zeros(2, 64))


# --- flags and layout -------------------------------------------------------------------------------------------


def flags() -> dict[str, bool]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "tf32": matmul.allow_tf32 and cudnn.allow_tf32,
        "deterministic": cudnn.deterministic,
        "benchmark": cudnn.benchmark,
    }


@pytest.fixture
def before(request: pytest.FixtureRequest) -> Iterator[bool]:
    """All flags are set to one value; afterwards they are what they were."""
    places = [(torch.backends.cuda.matmul, "allow_tf32")]
    places += [(torch.backends.cudnn, name) for name in ("allow_tf32", "deterministic", "benchmark")]
    kept = [getattr(where, name) for where, name in places]
    for where, name in places:
        setattr(where, name, request.param)
    yield request.param
    for (where, name), value in zip(places, kept, strict=True):
        setattr(where, name, value)


@pytest.mark.parametrize("before", [False, True], indirect=True)
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
@pytest.mark.parametrize("cudnn", ["deterministic", "benchmark"])
def test_flags_hold_in_a_step_and_come_back_after_it(precision: str, cudnn: str, before: bool) -> None:
    model = classifier()
    with contextlib.suppress(KeyboardInterrupt), Forward(model, precision, cudnn).training():
        found = flags()
        raise KeyboardInterrupt
    assert found == {
        "tf32": precision == "tf32",
        "deterministic": cudnn == "deterministic",
        "benchmark": cudnn == "benchmark",
    }
    assert set(flags().values()) == {before}


def test_images_lie_as_the_kernels_of_the_device_read_them() -> None:
    together, apart = torch.channels_last, torch.contiguous_format
    assert [layout("cpu", precision) for precision in ("float32", "tf32", "bf16")] == [together] * 3
    assert [layout("cuda", precision) for precision in ("float32", "tf32", "bf16")] == [apart, together, together]
