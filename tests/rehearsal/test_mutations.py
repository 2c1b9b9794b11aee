"""The rehearsal would find what it looks for: each of these changes of our code makes it fail, at the line changed."""

from __future__ import annotations

import copy
import importlib
import inspect
import textwrap
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.family import Classifier
from bench.train.loop import Trainer
from tests.rehearsal import test_attacks
from tests.rehearsal.bounds import hold_sampler, hold_training_step
from tests.rehearsal.device import DEVICE, rehearsed
from tests.rehearsal.test_training import steps_of

Make = Callable[..., Trainer]
Mutate = Callable[..., None]


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Mutate:
    """Replaces one passage in the source of a function or method, for the time of a test."""

    def change(module: str, path: str, old: str, new: str) -> None:
        function: Any = importlib.import_module(module)
        for part in path.split("."):
            function = getattr(function, part)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(old) == 1, f"{path} has {source.count(old)} times {old!r}"
        # At the place of the original, for the messages of the rehearsal.
        above = "\n" * (function.__code__.co_firstlineno - 1)
        text = above + source.replace(old, new)
        code = compile(text, inspect.getfile(function), "exec", flags=annotations.compiler_flag, dont_inherit=True)
        (body,) = [each for each in code.co_consts if isinstance(each, CodeType)]
        # The code of the function itself, because other modules have imported it by name.
        monkeypatch.setattr(function, "__code__", body)

    return change


def trained_step(make_trainer: Make, family: str, **config: Any) -> None:
    with rehearsed() as log:
        trainer = make_trainer(family, DEVICE.type, **config)
        log.clear()
        steps_of(trainer, 1)
        hold_training_step(log)


def sampled(models: Mapping[str, Classifier], family: str) -> None:
    with rehearsed() as log:
        model = copy.deepcopy(models[family]).to(DEVICE)
        labels, index = torch.arange(4, device=DEVICE), torch.arange(4, device=DEVICE)
        log.clear()
        model.sample(labels, seed=0, index=index, steps=2)
        hold_sampler(log)


def test_a_cpu_tensor_in_a_sampler(make_trainer: Make, models: Mapping[str, Classifier], mutate: Mutate) -> None:
    mutate(
        "bench_models.langevin", "sgld", "x.add_(gradient, alpha", "x.add_(torch.zeros(x.shape)).add_(gradient, alpha"
    )
    for attempt in (lambda: trained_step(make_trainer, "jem"), lambda: sampled(models, "jem")):
        with pytest.raises(RuntimeError, match=r"two devices, lazy and cpu: .* at models/langevin\.py:\d+"):
            attempt()


@pytest.mark.parametrize("family", ["softmax", "gmmc-dis"])
def test_an_item_in_a_step(make_trainer: Make, mutate: Mutate, family: str) -> None:
    mutate(
        "bench.train.loop",
        "Trainer._step",
        "self.family.update(self.model, ",
        "progress({'loss': step.loss.item()}); self.family.update(self.model, ",
    )
    with pytest.raises(
        AssertionError, match=r"waits for the device:\n.*_local_scalar_dense.* at bench/train/loop\.py:\d+"
    ):
        trained_step(make_trainer, family)


def test_an_item_in_a_sampler(models: Mapping[str, Classifier], mutate: Mutate) -> None:
    mutate(
        "bench_models.langevin", "regress_to", "x.sub_(gradient", "assert gradient.isfinite().all(); x.sub_(gradient"
    )
    with pytest.raises(AssertionError, match=r"waits for the device:\n.* at models/langevin\.py:\d+"):
        sampled(models, "gmmc-gen")


def test_noise_drawn_on_the_host(make_trainer: Make, mutate: Mutate) -> None:
    """It costs a copy in each step of the sampler."""
    mutate(
        "bench_models.generative",
        "noise_of",
        'return indexed_noise(iteration.seed("sampler"), torch.arange(len(draw.images), device=device), device)',
        'made = indexed_noise(iteration.seed("sampler"), torch.arange(len(draw.images)), "cpu"); '
        "return lambda step, shape: made(step, shape).to(device, non_blocking=True)",
    )
    with pytest.raises(AssertionError, match=r"5 copies to the device:\n.* at models/generative\.py:\d+"):
        trained_step(make_trainer, "jem", sampler={"steps": 5, "buffer": 60})


def test_noise_copied_while_the_host_waits(models: Mapping[str, Classifier], mutate: Mutate) -> None:
    mutate("bench.rng.indexed", "_row_keys", "torch.full((1,), signed64(seed), dtype=torch.int64, device=device)",
           "torch.tensor([signed64(seed)], device=device)")  # fmt: skip
    with pytest.raises(AssertionError, match=r"copies to the device:\n.* at bench/rng/indexed\.py:\d+"):
        sampled(models, "jem")


@pytest.mark.parametrize(
    ("module", "path", "old", "new", "case"),
    [
        (
            "bench.attacks.ascent",
            "Ascent.run",
            "if not known_empty(newly)",
            "if bool(newly.any())",
            "pgd, final iterate",
        ),
        (
            "bench.attacks.ascent",
            "Ascent.run",
            "if self.survivors_only and number % every == 0",
            "if self.survivors_only",
            "pgd on survivors",
        ),
        (
            "bench.attacks.descent",
            "Search._record",
            "known_empty(takes)",
            "not bool(takes.any())",
            "cw_l2 with patience",
        ),
        ("bench.attacks.descent", "Search._round", "step % every == 0", "True", "cw_l2 with patience"),
    ],
)
def test_a_look_in_every_step_of_an_attack(
    models: Mapping[str, Classifier],
    pictures: tuple[Tensor, Tensor],
    monkeypatch: pytest.MonkeyPatch,
    mutate: Mutate,
    module: str,
    path: str,
    old: str,
    new: str,
    case: str,
) -> None:
    mutate(module, path, old, new)
    with pytest.raises(AssertionError, match=r"assert \d+ == [03]"):
        test_attacks.test_the_steps_of_our_attacks_wait_at_looks_alone(models, pictures, monkeypatch, case)
