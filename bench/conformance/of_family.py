"""Checks of a family: it is built, trained, interrupted and asked for everything that evaluations read."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from bench.conformance import small
from bench.conformance.check import Check, require
from bench.conformance.network import backbone
from bench.errors import RequestError, did_you_mean
from bench.family import Batch, Classifier, Family, Iteration, Model, Samples, State
from bench.plugins.family_contract import check_rows, checked_model, checked_state, checked_step, checked_streams
from bench.predict.outputs import forward_outputs, gradient_outputs
from bench.registry import import_object
from bench.rng import seeded
from bench.spec import FamilySpec, Task, settings
from bench.train import checkpoint
from bench.train.loop import Trainer, TrainingInterrupted

__all__ = ["checks"]

_SHORT = {"epochs": 2, "batch_size": 16, "warmup": 0, "decay_epochs": [], "lr": 1e-3}
_CLOSE = 1e-4
"""Largest relative difference between batches of different sizes: the order of additions differs."""


def checks(
    kind: str,  # noqa: ARG001 - the modules of all kinds have one signature
    name: str,  # noqa: ARG001
    spec: FamilySpec,
    params: Mapping[str, Any],
    family: str | None,  # noqa: ARG001
) -> tuple[Check, ...]:
    """The checks of a family, on a task that it learns in seconds."""
    trial = Trial(spec, params)
    found: list[tuple[str, Callable[[], None]]] = [
        ("configuration: a short training is accepted", trial.configured),
        (f"build: a {'classifier' if spec.classifies else 'model'} for these classes and images", trial.built),
        ("streams and state", trial.state),
        ("training step: a scalar loss with gradients, scalar logs", trial.step),
        ("training: finite to the end", trial.finite),
        ("training twice with one seed: the same weights", trial.deterministic),
        ("training interrupted and resumed: the same weights, to the bit", trial.resumed),
    ]
    if spec.classifies:
        found.append(("outputs: features (N, d), logits (N, K), log p(x) (N,), read-outs, finite", trial.outputs))
    elif "density" in spec.can:
        found.append(("outputs: log p(x) (N,), finite", trial.finite_outputs))
    if spec.can & {"classes", "density"}:
        told = "logits" if spec.classifies else "log p(x)"
        found += [
            ("outputs do not depend on the rest of the batch", trial.independent),
            (f"weights saved and loaded: the same {told}", trial.loaded),
        ]
    if "density" in spec.can:
        found.append(("density: log p(x) has an input gradient", trial.density))
    if "samples" in spec.capabilities:
        found += [
            ("samples: (N, C, H, W) in [0, 1]", trial.samples),
            ("samples: row i depends on (seed, index[i]) alone", trial.samples_alone),
            ("stored samples: None, or images in [0, 1] with labels and ages", trial.stored),
        ]
    return tuple(Check(name, run) for name, run in found)


class Trial:
    """What the checks of one family share; each part is made when a check first needs it.

    Args:
        spec: The family.
        params: Hyper-parameters; the others are those of a short training, or defaults.
    """

    def __init__(self, spec: FamilySpec, params: Mapping[str, Any]) -> None:
        self.spec, self.params = spec, params
        self.splits = small.splits()
        self.images = torch.from_numpy(self.splits.test.unit_images())
        self.who = spec.implementation.rpartition(":")[2]

    @cached_property
    def config(self) -> Any:
        """The hyper-parameters of a training of two epochs.

        Raises:
            RequestError: The family refuses them, or requires others.
        """
        try:
            return self.spec.config.model_validate_json(json.dumps({**_SHORT, **self.params}))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            if first["type"] == "extra_forbidden":
                known = [setting.key for setting in settings(self.spec.config)]
                raise RequestError(f"{self.spec.name} has no setting {key!r}; {did_you_mean(key, known)}") from None
            said = f"{key}: {first['msg']}" if key else first["msg"].removeprefix("Value error, ")
            raise RequestError(f"a training of two epochs: {said}; --set {key or 'KEY'}=VALUE") from None

    def configured(self) -> None:
        """The family accepts the configuration and the task."""
        task = Task(num_classes=small.CLASSES, image_shape=small.SHAPE, train=48, features=small.FEATURES)
        reasons = dict(self.spec.unfit(self.config, task))
        require(
            not reasons, "; ".join(f"{key}: {why}; another value: --set {key}=VALUE" for key, why in reasons.items())
        )

    def family(self) -> Family[Any]:
        """A new instance of the implementation."""
        found = import_object(self.spec.implementation)
        right = isinstance(found, type) and issubclass(found, Family)
        require(right, f"{self.spec.implementation} is no subclass of bench.family.Family")
        made: Family[Any] = found(self.config)  # type: ignore[operator]
        return made

    def model(self) -> Model:
        """A newly built model, always with the same initial weights."""
        with seeded(1):
            return checked_model(
                self.family().build(backbone("small", small.SHAPE[0]), small.CLASSES, small.SHAPE),
                small.CLASSES,
                small.SHAPE,
                self.who,
                classifies=self.spec.classifies,
            )

    def train(self, count: int | None = None) -> Batch:
        """The first training items, or all."""
        train = self.splits.train
        return Batch(torch.from_numpy(train.unit_images()[:count]), torch.from_numpy(train.labels[:count]))

    def start(self, family: Family[Any], model: Model, generator: torch.Generator) -> State | None:
        """The state at the beginning of a training, after what comes before it."""
        with seeded(1):
            family.before_training(model, lambda: [self.train()])
        return family.start(model, generator)

    def built(self) -> None:
        """``build`` returns a model that keeps its backbone, and the same one for the same seed."""
        first, second = self.model(), self.model()
        require(
            not self.spec.needs_backbone or isinstance(getattr(first, "backbone", None), torch.nn.Module),
            f"{type(first).__name__} has no attribute 'backbone': bf16 and compilation in training apply to it",
        )
        _same(first.state_dict(), second.state_dict(), "two builds with one seed of the global generators")

    @cached_property
    def trained(self) -> Trainer:
        """A trainer after a whole training."""
        trainer = self.trainer()
        trainer.run()
        return trainer

    def trainer(self) -> Trainer:
        """A new trainer with the seed of all trials."""
        return Trainer(self.family(), self.model(), self.splits, augmentation="none", seed=1)

    @property
    def model_trained(self) -> Model:
        """The trained model in eval mode."""
        return self.trained.model.eval()

    @torch.no_grad()
    def values(self, model: Model, images: Tensor) -> Tensor:
        """What a model says of images: logits, or log p(x) if it does not classify."""
        return model.logits(images) if isinstance(model, Classifier) else model.log_density(images)

    @cached_property
    def predicted(self) -> Mapping[str, Any]:
        """Everything that a prediction pass stores."""
        return forward_outputs(self.model_trained, self.images)

    def finite_outputs(self) -> None:
        """Shapes and finite values of what a prediction pass stores."""
        for name, values in self.predicted.items():
            finite = bool(torch.from_numpy(values).isfinite().all())
            require(finite, f"{name}: values that are not finite, on images in [0, 1]")

    def outputs(self) -> None:
        """What a prediction pass of a classifier stores, and its read-outs."""
        model = self.model_trained
        assert isinstance(model, Classifier)
        self.finite_outputs()
        found = self.predicted
        names = {name.removeprefix("readout/") for name in found if name.startswith("readout/")}
        require(
            names == set(self.spec.readouts),
            f"readouts() has {', '.join(sorted(names))}; the spec declares {', '.join(self.spec.readouts)}",
        )
        for name in names:
            total = torch.from_numpy(found[f"readout/{name}"]).exp().sum(dim=1)
            close = bool(((total - 1).abs() < _CLOSE).all())
            require(close, f"readouts()[{name!r}]: the probabilities of an item sum to {float(total[0]):.4g}, not 1")
        features = torch.from_numpy(found["features"])
        with torch.no_grad():
            precise = model.classify(features.double())
        check_rows(precise, "classify of float64 features", len(features), small.CLASSES)

    def independent(self) -> None:
        """In eval mode the outputs of an item are the same alone and among others."""
        model = self.model_trained
        together, alone = self.values(model, self.images), self.values(model, self.images[:1])
        require(
            _near(together[:1], alone),
            f"{'the logits' if self.spec.classifies else 'log p(x)'} of an item: {_numbers(together[0])} in a batch "
            f"and {_numbers(alone[0])} alone; "
            "batch normalisation, or a result over the batch?",
        )

    def state(self) -> None:
        """``streams`` and ``start`` return what the loop can use; the state can be saved and restored."""
        family, model = self.family(), self.model()
        checked_streams(family.streams(), self.who)
        made = [
            checked_state(self.start(family, model, torch.Generator().manual_seed(seed)), self.who) for seed in (1, 2)
        ]
        if made[0] is not None:
            saved = {name: tensor.clone() for name, tensor in made[0].state_dict().items()}
            made[1].load_state_dict(saved)
            _same(made[1].state_dict(), saved, f"the state of {self.who}.start after load_state_dict")

    def step(self) -> None:
        """One training step has a scalar loss whose gradient reaches a parameter."""
        family, model = self.family(), self.model().train()
        generator = torch.Generator().manual_seed(1)
        state = self.start(family, model, generator)
        batch = self.train(16)
        batches = dict.fromkeys(family.streams(), batch)
        with seeded(1):
            step = checked_step(family.training_step(model, batches, state, Iteration(0, 0, 3, generator)), self.who)
        require(bool(step.loss.isfinite()), f"{self.who}.training_step: the loss of the first step is {step.loss}")
        if family.trains:
            step.loss.backward()  # type: ignore[no-untyped-call]
            moved = any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters())
            require(moved, f"{self.who}.training_step: the loss has a zero gradient in every parameter")

    def finite(self) -> None:
        """Two epochs do not diverge, without a restart."""
        trips = self.trained.trips
        require(not trips, f"training diverged: {trips[0]['reason'] if trips else ''}; a smaller lr or step size?")

    def deterministic(self) -> None:
        """Two trainings with one seed end in equal weights and states."""
        again = self.trainer()
        again.run()
        _same_training(again, self.trained, "two trainings with one seed")

    def resumed(self) -> None:
        """A training that is interrupted in an epoch and restored ends in equal weights and states."""
        interrupted = self.trainer()
        middle = interrupted.per_epoch + 1
        with contextlib.suppress(TrainingInterrupted):
            interrupted.run(should_stop=lambda: interrupted.iteration == middle)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(interrupted, Path(folder))
            continued = self.trainer()
            checkpoint.restore(continued, Path(folder))
            continued.run()
        _same_training(continued, self.trained, "a training that was interrupted and one that was not")

    def loaded(self) -> None:
        """A new model with the trained weights computes the same."""
        fresh = self.model()
        fresh.load_state_dict(self.model_trained.state_dict())
        fresh.check_loaded()
        pair = self.values(fresh.eval(), self.images), self.values(self.model_trained, self.images)
        require(_near(*pair), "outputs differ after the weights were loaded into a new model: is something no buffer?")

    def density(self) -> None:
        """The norm of the input gradient of log p(x) is finite, and is not 0 everywhere."""
        norms = torch.from_numpy(gradient_outputs(self.model_trained, self.images)["gradient_norm"])
        require(bool(norms.isfinite().all()), "the input gradient of log_density is not finite")
        require(bool((norms > 0).any()), "the input gradient of log_density is zero for every image")

    def draw(self, index: Tensor, seed: int = 0) -> Tensor:
        """Samples of the classes in turn."""
        labels = index % small.CLASSES
        return self.model_trained.sample(labels, seed=seed, index=index)

    def samples(self) -> None:
        """Shape and range of new samples."""
        _pictures(self.draw(torch.arange(4)), "sample", 4)

    def samples_alone(self) -> None:
        """A sample does not depend on its batch; another seed gives other samples."""
        index = torch.arange(4)
        whole = self.draw(index)
        require(_near(whole[2:3], self.draw(index[2:3])), "sample: row 2 of a batch differs from the same row alone")
        other = self.draw(index, seed=1)
        require(not torch.equal(whole, other), "sample: seeds 0 and 1 give the same images")

    def stored(self) -> None:
        """What ``attach`` gave to a trained model."""
        selected, family, model = self.trained.selected, self.family(), self.model()
        assert selected is not None
        if selected.state:
            family.attach(model, selected.state)
        kept: object = model.stored_samples()
        if kept is None:
            return
        require(isinstance(kept, Samples), f"stored_samples returned {type(kept).__name__}, expected Samples or None")
        assert isinstance(kept, Samples)
        count = len(kept.images)
        _pictures(kept.images, "stored_samples().images", count)
        for name, values, low in (("labels", kept.labels, -1), ("age", kept.age, 0)):
            right = values.shape == (count,) and values.dtype == torch.int64 and bool((values >= low).all())
            require(right, f"stored_samples().{name}: expected int64 of shape ({count},), at least {low}")


def _pictures(images: object, name: str, count: int) -> None:
    shape = (count, *small.SHAPE)
    right = isinstance(images, Tensor) and tuple(images.shape) == shape and images.is_floating_point()
    told = f"of shape {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
    require(right, f"{name}: {told}, expected a floating-point tensor of shape {shape}")
    assert isinstance(images, Tensor)
    low, high = float(images.min()), float(images.max())
    require(low >= 0 and high <= 1, f"{name}: values from {low:.3g} to {high:.3g}, expected [0, 1]")


def _same_training(one: Trainer, other: Trainer, what: str) -> None:
    _same(one.model.state_dict(), other.model.state_dict(), what)
    first, second = (trainer.state.state_dict() if trainer.state is not None else {} for trainer in (one, other))
    _same(first, second, f"the states of {what}")


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor], what: str) -> None:
    names = [name for name in one if name not in other or not _equal(one[name], other[name])]
    require(
        not names and one.keys() == other.keys(),
        f"{what} differ in {', '.join(names[:3])}: draw from iteration.seed or iteration.generator (in start, "
        "from its argument), and keep in the state or in buffers whatever steps depend on",
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def _near(one: Tensor, other: Tensor) -> bool:
    scale = float(other.abs().max()) + 1e-12
    return bool(((one - other).abs() <= _CLOSE * scale).all())


def _numbers(values: Tensor) -> str:
    return "[" + ", ".join(f"{float(value):.4g}" for value in values.reshape(-1)) + "]"
