"""The compiled backbone, pass by pass.

Most compile with ``aot_eager``, which traces, guards and derives backward passes as ``inductor`` does and generates no
code, so it needs no compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from bench_models.langevin import regress_to
from bench_models.networks import sampling, to_model
from bench_models.softmax import LinearClassifier
from bench_models.wide_resnet import build
from torch import Tensor, nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters

from bench.train.forward import Forward

K, SHAPE = 4, (1, 8, 8)


class Scaled(nn.Module):
    """The pixels times a number."""

    feature_dim = 64

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) * self.scale


class Small(nn.Module):
    """Two convolutions around what has a mode."""

    feature_dim = 64

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3), between, nn.LeakyReLU(), nn.Conv2d(8, 64, 3))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x).mean(dim=(2, 3))
        return features


def images(n: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))


def small(between: str = "none") -> LinearClassifier:
    torch.manual_seed(0)
    made = {"none": nn.Identity, "batch": lambda: nn.BatchNorm2d(8), "dropout": lambda: nn.Dropout2d(0.3)}
    return LinearClassifier(Small(made[between]()), K, SHAPE).train()


class Graphs:
    """A backend that keeps the forward and backward graphs it was given."""

    def __init__(self) -> None:
        self.forward: list[torch.fx.GraphModule] = []
        self.backward: list[torch.fx.GraphModule] = []
        self.backend = aot_autograd(fw_compiler=self._keep(self.forward), bw_compiler=self._keep(self.backward))

    def _keep(self, graphs: list[torch.fx.GraphModule]) -> Callable[..., Any]:
        from functorch.compile import make_boxed_func

        def compiler(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
            graphs.append(graph)
            return make_boxed_func(graph.forward)

        return compiler


def masks(graph: torch.fx.GraphModule) -> list[list[bool]]:
    """Of each convolution: whether gradients of its input, weight and bias are computed."""
    name = torch.ops.aten.convolution_backward.default
    return [node.args[-1] for node in graph.graph.nodes if node.target is name]  # type: ignore[misc]


def test_a_sampler_step_computes_input_gradients_alone_and_an_update_those_of_weights() -> None:
    model, graphs = small(), Graphs()
    forward = Forward(model, "float32", True, backend=graphs.backend)
    with forward.training():
        with sampling(model):
            compiled = regress_to(model.backbone, to_model(images()), torch.zeros(6, 64), steps=3)
        model.logits(images()).sum().backward()  # type: ignore[no-untyped-call]
    assert forward.facts()["compiled"]
    sampler, update = graphs.backward
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert len(masks(sampler)) == len(masks(update)) == convolutions
    assert all(mask == [True, False, False] for mask in masks(sampler))
    assert all(mask[1] for mask in masks(update))
    # Images are data there: the first convolution needs no gradient towards them.
    assert sorted(mask[0] for mask in masks(update)) == [False] + [True] * (convolutions - 1)
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())
    eager = regress_to(model.backbone, to_model(images()), torch.zeros(6, 64), steps=3)
    torch.testing.assert_close(compiled, eager)


@pytest.mark.parametrize("name", ["none", "batch"])
def test_switches_between_sampler_and_update_compile_two_graphs_once(name: str) -> None:
    model, graphs = small(name), Graphs()
    counters.clear()
    with Forward(model, "bf16", True, backend=graphs.backend).training():
        for seed in range(4):
            with sampling(model.train()):
                regress_to(model.backbone, to_model(images(seed=seed)), torch.zeros(6, 64), steps=2)
            model.logits(images(seed=seed)).sum().backward()  # type: ignore[no-untyped-call]
    assert (len(graphs.forward), len(graphs.backward)) == (2, 2)
    assert counters["stats"]["unique_graphs"] == 2
    assert not counters["graph_break"]


def test_models_do_not_share_the_room_for_graphs() -> None:
    """More models in one process than graphs that one code object may have."""
    with torch._dynamo.config.patch(recompile_limit=1):
        for _ in range(3):
            model = LinearClassifier(Scaled(), K, SHAPE)
            forward = Forward(model, "float32", True, backend="aot_eager")
            with forward.training():
                model.logits(images())
            assert forward.facts()["compiled"]


@pytest.mark.parametrize("name", ["batch", "dropout"])
def test_compiling_leaves_statistics_and_random_numbers_alone(name: str) -> None:
    """The first pass of a kind is also run for trial; of that nothing is left."""
    found = []
    for compiled in (False, True):
        model = small(name)
        torch.manual_seed(1)
        with Forward(model, "float32", compiled, backend="aot_eager").training():
            for seed in range(3):
                loss = model.logits(images(seed=seed)).square().mean()
                loss.backward()  # type: ignore[no-untyped-call]
        gradients = {f"d {key}": parameter.grad for key, parameter in model.named_parameters()}
        found.append({**model.state_dict(), **gradients, "generator": torch.random.get_rng_state()})
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, msg=lambda text, key=key: f"{key}: {text}")


def test_the_module_is_itself_during_and_after() -> None:
    model = small()
    names, kind = list(model.state_dict()), type(model.backbone)
    forward = Forward(model, "bf16", True, backend="aot_eager")

    def step() -> None:
        with forward.training():
            model.features(images())
            assert list(model.state_dict()) == names
            assert type(model.backbone) is kind
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        step()
    assert list(model.state_dict()) == names
    assert "forward" not in vars(model.backbone)


# --- where compiling fails --------------------------------------------------------------------------------------


def _refuse(*_: Any) -> Any:
    raise RuntimeError("no compiler here\nand much more to say")


class Reading(Scaled):
    """Looks at a value, which cannot be part of one graph."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if float(x.sum()) > 0 else x.flatten(1)


@pytest.mark.parametrize("where", ["forward", "backward", "graph break"])
def test_training_goes_on_eagerly_with_one_warning_and_the_reason(
    where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = Graphs()._keep([])
    backend: Any = {
        "forward": _refuse,
        "backward": aot_autograd(fw_compiler=keep, bw_compiler=_refuse),
        "graph break": "aot_eager",
    }[where]
    found = []
    for compiled in (False, True):
        model = LinearClassifier(Reading(), K, SHAPE) if where == "graph break" else small("batch")
        torch.manual_seed(0)
        model.head.reset_parameters()
        forward = Forward(model, "float32", compiled, backend=backend)
        with forward.training():
            for seed in range(3):
                model.logits(images(seed=seed)).sum().backward()  # type: ignore[no-untyped-call]
        found.append([*model.state_dict().values(), *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    told = [line for line in capsys.readouterr().err.splitlines() if "without torch.compile" in line]
    facts = forward.facts()
    assert len(told) == 1
    assert not facts["compiled"]
    assert "\n" not in facts["not_compiled"]
    assert told[0].endswith(facts["not_compiled"])
    assert ("no compiler here" in facts["not_compiled"]) is (where != "graph break")


def test_an_error_of_the_model_itself_is_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = LinearClassifier(build("wrn-10-1", 1), K, SHAPE)
    with (
        pytest.raises(ValueError, match="images must have shape"),
        Forward(model, "float32", True, backend="aot_eager").training(),
    ):
        model.features(torch.zeros(2, 3, 8, 8))
    assert "without torch.compile" in capsys.readouterr().err
