"""A search in bfloat16 proposes; float32 decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.attacks import ascent, eps_sweep, run, searching
from bench.attacks.frozen import frozen
from bench.attacks.named import ATTACKS
from bench.attacks.searching import Bf16Model, chosen_precision
from bench.attacks.threat import ThreatModel
from bench.attacks.waiting import CHECK_EVERY

CPU = torch.device("cpu")
LOWERED: dict[str, Any] = {"search_precision": "bf16"}
ASCENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "final": ("pgd", {"steps": 6, "step": 0.4, "norm": "linf"}),
    "any": ("pgd", {"steps": 6, "step": 0.4, "norm": "l2", "iterate": "any"}),
    "survivors": ("pgd", {"steps": 6, "step": 0.4, "norm": "linf", "iterate": "any", "survivors_only": True}),
    "adaptive": ("adaptive_pgd", {"steps": 6, "step": 0.8, "norm": "linf", "restarts": 1, "losses": ("margin", "ce")}),
    "transfer": ("transfer", {"steps": 6, "step": 0.8, "norm": "linf"}),
}
CW: dict[str, Any] = {"steps": 60, "rounds": 4, "c0": 1.0, "lr": 0.05, "norm": "l2"}


class WithBackbone(nn.Module):
    """A classifier from a backbone and a head, as those of the harness are."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


class Flattened(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


class Told(nn.Module):
    """Adds something to features under autocast alone: what bfloat16 believes is then known."""

    def __init__(self, backbone: nn.Module, told: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.backbone, self.told, self.lowered, self.exact = backbone, told, 0, 0

    def forward(self, images: Tensor) -> Tensor:
        features = self.backbone(images)
        if torch.is_autocast_enabled("cpu"):
            self.lowered += len(images)
            return self.told(features.float())
        self.exact += len(images)
        return features


def linear(toy: Any) -> WithBackbone:
    layer = nn.Linear(toy.model.weights.shape[1], len(toy.model.weights))
    layer.weight.data, layer.bias.data = toy.model.weights.data.clone(), toy.model.bias.data.clone()
    return WithBackbone(Flattened(layer), nn.Identity())


def attacked(model: nn.Module, toy: Any, name: str, options: dict[str, Any], **more: Any) -> Any:
    eps = None if name == "cw_l2" else more.pop("eps", 0.1)
    surrogate = model if name == "transfer" else None
    return run(name, model, toy.images, toy.labels, eps=eps, seed=0, surrogate=surrogate, **{**options, **more})


def test_only_the_backbone_is_in_bfloat16(make_linear: Callable[..., Any]) -> None:
    """The layer multiplies rounded numbers; the head, whose 8 bits would not do, does not round."""
    toy = make_linear()
    model = linear(toy)
    head = nn.Linear(10, 10, bias=False)
    model.head = head
    with frozen(model) as view, torch.no_grad():
        lowered = Bf16Model(view, CPU)
        found = lowered.logits(toy.images)
        layer = model.backbone.layer  # type: ignore[union-attr]
        product = toy.images.flatten(1).bfloat16().double() @ layer.weight.bfloat16().double().T
        features = (product + layer.bias.bfloat16().double()).bfloat16().float()  # type: ignore[operator]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, head(features), rtol=0.02, atol=0.02)
        assert not torch.equal(found, view.logits(toy.images))
        bare = Bf16Model(view, CPU)
        assert bare.exact is view
        assert view.forwards == lowered.forwards == 2 * len(toy.images)
    assert "forward" not in model.backbone.__dict__


def test_a_head_is_computed_in_float32(make_linear: Callable[..., Any]) -> None:
    toy = make_linear()
    model = linear(toy)
    seen: list[tuple[torch.dtype, bool]] = []
    model.head.register_forward_hook(
        lambda _m, given, _o: seen.append((given[0].dtype, torch.is_autocast_enabled("cpu")))
    )
    attacked(model, toy, "pgd", {"steps": 2, "norm": "linf"}, **LOWERED)
    assert set(seen) == {(torch.float32, False)}


def rotated(features: Tensor) -> Tensor:
    """Logits of which every class gets those of its neighbour: every image seems to be misclassified."""
    return features.roll(1, dims=1)


@pytest.mark.parametrize("every", [1, CHECK_EVERY])
@pytest.mark.parametrize("case", ASCENTS)
def test_what_float32_denies_is_attacked_on(
    make_linear: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, case: str, every: int
) -> None:
    """All seems broken from the first step on. No image is dropped, none is claimed, at a budget at which none can be
    broken.
    """
    monkeypatch.setattr(ascent, "check_every", lambda _: every)
    toy, (name, options) = make_linear(), ASCENTS[case]
    model = linear(toy)
    model.backbone = Told(model.backbone, rotated)
    result = attacked(model, toy, name, options, eps=1e-6, **LOWERED)
    assert not result.success.any()
    assert result.search_precision == "bf16"
    runs = 2 if name == "adaptive_pgd" else 1
    steps = options["steps"] * runs
    assert (result.forwards[result.clean_correct] >= steps + runs).all()
    assert model.backbone.lowered >= (steps - runs) * result.clean_correct.sum()


@pytest.mark.parametrize("case", ["final", "any", "transfer"])
def test_what_bfloat16_never_sees_is_found_by_the_end(make_linear: Callable[..., Any], case: str) -> None:
    """The search believes that nothing is ever broken, but its gradients are right: the last iterate is looked at in
    float32.
    """
    toy, (name, options) = make_linear(), ASCENTS[case]
    options = {**options, "step": 0.5, **({"loss": "margin"} if name == "pgd" else {})}
    with torch.no_grad():
        toy.labels[:] = linear(toy)(toy.images).argmax(dim=1)  # all images are attacked, and in one batch
    exact = attacked(linear(toy), toy, name, options, eps=0.3)
    model = linear(toy)
    label = nn.functional.one_hot(toy.labels, 10) * 1e4
    told = 0

    def certain(features: Tensor) -> Tensor:
        nonlocal told
        if len(features) != len(label):
            return features  # the trial of the layout
        told += 1
        return features + label

    model.backbone = Told(model.backbone, certain)
    found = attacked(model, toy, name, options, eps=0.3, **LOWERED)
    assert told >= 5
    assert exact.success.sum() > 20
    assert found.success.sum() >= 0.9 * exact.success.sum()


def test_cw_claims_nothing_that_float32_denies(make_linear: Callable[..., Any]) -> None:
    toy = make_linear()
    model = linear(toy)
    model.backbone = Told(model.backbone, rotated)
    result = attacked(model, toy, "cw_l2", {**CW, "lr": 1e-7}, **LOWERED)
    assert result.clean_correct.sum() > 40
    assert not result.success.any()


def test_cw_norms_are_near_the_exact_ones(make_linear: Callable[..., Any]) -> None:
    """Interior images: min_k margin_k / ||w_y - w_k||, the distance to the nearest hyperplane."""
    toy = make_linear()
    toy.images.mul_(0.6).add_(0.2)
    model = linear(toy)
    options: dict[str, Any] = {"norm": "l2", "steps": 100, "rounds": 5, "seed": 0}
    with torch.no_grad():
        toy.labels[:] = model(toy.images).argmax(dim=1)
        logits, weights = model(toy.images).double(), toy.model.weights.double()
    exact = run("cw_l2", model, toy.images, toy.labels, **options)
    found = run("cw_l2", model, toy.images, toy.labels, **options, **LOWERED)
    rivals = (weights[None] - weights[toy.labels][:, None]).norm(dim=2)
    gaps = logits.gather(1, toy.labels[:, None]) - logits
    distances = torch.where(rivals > 0, gaps / rivals, torch.inf).amin(dim=1).numpy()
    assert found.success.all()
    assert (found.l2 >= distances * (1 - 1e-5)).all()
    assert found.l2.sum() < 1.03 * distances.sum()
    assert found.l2.sum() < 1.01 * exact.l2.sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_verdicts_are_those_of_an_exact_model(
    make_linear: Callable[..., Any], exact_linear_robustness: Callable[..., Any], norm: str
) -> None:
    """Targeted PGD on the margin finds the worst corner of a linear model, also with rounded gradients, whose signs are
    the same.
    """
    toy = make_linear()
    result = attacked(
        linear(toy),
        toy,
        "pgd",
        {"norm": norm, "loss": "margin-targeted", "steps": 20, "step": 0.25},
        eps=0.12,
        **LOWERED,
    )
    with torch.no_grad():
        logits = linear(toy)(torch.from_numpy(result.adversarials))
    np.testing.assert_array_equal(result.predictions, logits.argmax(dim=1).numpy())
    if norm == "linf":
        np.testing.assert_array_equal(result.robust, exact_linear_robustness(toy, 0.12))


@pytest.mark.parametrize(("name", "rounds"), [("pgd", 3), ("adaptive_pgd", 3), ("transfer", 3)])
def test_the_last_restart_is_in_float32(make_linear: Callable[..., Any], name: str, rounds: int) -> None:
    """No image is broken, so every restart takes every step."""
    toy = make_linear(count=16)
    model = linear(toy)
    model.backbone = Told(model.backbone, lambda features: features)
    one = {"losses": ("margin",)} if name == "adaptive_pgd" else {}
    options = {"steps": 5, "step": 1.0, "norm": "linf", **one}
    result = attacked(model, toy, name, options, eps=1e-6, restarts=rounds, **LOWERED)
    images = int(result.clean_correct.sum())
    told = 5 * (rounds - 1) - (1 if name == "pgd" else rounds - 1)  # without the first step of measured runs
    assert not result.success.any()
    # Beside steps, one trial pass of two images a call of the kernel looks for the layout.
    assert 0 <= model.backbone.lowered - told * images <= 2 * rounds
    assert "last restart in float32" in result.definition


def test_the_health_of_gradients_is_that_of_float32(make_linear: Callable[..., Any]) -> None:
    toy = make_linear()
    model = linear(toy)
    for name, options in (("pgd", {"steps": 3, "norm": "linf"}), ("cw_l2", {**CW, "steps": 3})):
        exact = attacked(model, toy, name, options)
        found = attacked(model, toy, name, options, **LOWERED)
        for field in ("start_gradient", "start_probability"):
            np.testing.assert_array_equal(getattr(found.health, field), getattr(exact.health, field))


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e-37])
def test_small_gradients_pass_the_backbone(make_linear: Callable[..., Any], size: float) -> None:
    """The gradient of a cross-entropy with large gaps is tiny; layers of bfloat16 would flush it to zero."""
    toy = make_linear()
    model = linear(toy)
    model.backbone = nn.Sequential(model.backbone, nn.Linear(10, 10))
    factors = torch.logspace(0, -1, len(toy.images))[:, None] * size  # every image has its own size
    found = []
    with frozen(model) as view:
        for lowered in (view, Bf16Model(view, CPU)):
            points = toy.images.clone().requires_grad_()
            (gradient,) = torch.autograd.grad((lowered.logits(points) * factors).sum(), points)
            found.append(gradient.double() / size)
    exact, rounded = found
    assert rounded.dtype == torch.float64
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.02 * float(exact.abs().max()))
    assert (rounded.sign() == exact.sign()).double().mean() > 0.95


def test_a_sweep_searches_in_bfloat16(make_linear: Callable[..., Any]) -> None:
    toy = make_linear()
    options: dict[str, Any] = {"norm": "linf", "eps": [0.02, 0.1, 0.3], "seed": 0, "iterate": "any"}
    exact = eps_sweep("pgd", linear(toy), toy.images, toy.labels, loss="margin", **options)
    found = eps_sweep("pgd", linear(toy), toy.images, toy.labels, loss="margin", **options, **LOWERED)
    assert "search in bf16" in found.definition
    assert "bf16" not in exact.definition
    assert all(stage.search_precision == "bf16" for stage in found.stages)
    assert np.abs(found.robust.mean(axis=1) - exact.robust.mean(axis=1)).max() <= 0.05


def test_auto_asks_the_device(make_linear: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    toy = make_linear()
    model = linear(toy)
    for has, precision in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(searching, "computes_bf16", lambda _, has=has: has)
        assert chosen_precision("auto", model, toy.images, CPU) == precision
        result = attacked(model, toy, "pgd", {"steps": 2, "norm": "linf"}, search_precision="auto")
        assert result.search_precision == precision
        assert ("search in bf16" in result.definition) == has
        assert "where the device" not in result.definition
    monkeypatch.setattr(searching, "computes_bf16", lambda _: True)
    assert chosen_precision("auto", toy.model, toy.images, CPU) == "float32"  # no backbone
    assert chosen_precision("auto", linear(toy).double(), toy.images.double(), CPU) == "float32"
    assert chosen_precision("float32", toy.model, toy.images, CPU) == "float32"


def test_models_without_a_backbone_in_float32_are_refused(make_linear: Callable[..., Any]) -> None:
    toy = make_linear()
    with pytest.raises(ValueError, match=r"search_precision = \"bf16\": Linear has no attribute 'backbone'"):
        attacked(toy.model, toy, "pgd", {"norm": "linf"}, **LOWERED)
    with pytest.raises(ValueError, match="not float32"):
        run("pgd", linear(toy).double(), toy.images.double(), toy.labels, norm="linf", eps=0.1, seed=0, **LOWERED)
    aside = linear(toy)
    aside.forward = lambda images: aside.backbone.layer(images.flatten(1))  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="never calls its backbone as a module"):
        attacked(aside, toy, "pgd", {"norm": "linf"}, **LOWERED)
    with pytest.raises(ValueError, match="search_precision must be 'float32' or 'bf16' or 'auto'"):
        attacked(linear(toy), toy, "pgd", {"norm": "linf"}, search_precision="fp16")


@pytest.mark.parametrize("name", ["pgd", "adaptive_pgd", "transfer", "cw_l2"])
def test_definitions_name_the_precision_unless_it_is_the_default(name: str) -> None:
    attack = ATTACKS.get(name)
    threat = ThreatModel("l2" if name == "cw_l2" else "linf", 0.1)
    assert "search_precision" not in attack.stated
    assert "bf16" not in attack.definition(threat)
    for value, text in (("bf16", "search in bf16"), ("auto", "search in bf16 where the device has it")):
        chosen = attack.configured({"search_precision": value})
        assert chosen.stated["search_precision"] == value
        assert text in chosen.definition(threat)
