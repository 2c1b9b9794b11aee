"""The contract that a model family implements. Only workers and families import it, because it needs torch.

A family consists of a ``FamilySpec`` (``bench.spec``, light), a ``Family`` that builds and trains, and the ``Model``
that it builds, a ``Classifier`` if it classifies. The harness uses a trained model only through these two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from bench.rng import derive_seed
from bench.spec import TrainingConfig

__all__ = [
    "Batch",
    "Classifier",
    "Family",
    "Imported",
    "Iteration",
    "Model",
    "Samples",
    "State",
    "Step",
    "StreamSpec",
    "Update",
]

Readout = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Samples:
    """Images that a generative model generated or keeps in its replay buffer.

    Attributes:
        images: (N, C, H, W) in [0, 1].
        labels: (N,) int64, the class for which each image was generated; -1 if there is none.
        age: (N,) int64, the number of sampler calls that updated the image since it was noise; 0 = still noise.
    """

    images: Tensor
    labels: Tensor
    age: Tensor


class Model(nn.Module):
    """What a family builds: a module over images x in [0, 1] of shape (N, C, H, W); it does any scaling itself.

    A family whose models classify builds a `Classifier`. Others implement what the capabilities of their spec promise:
    ``log_density``, and ``sample`` or ``stored_samples``. In eval mode no result may depend on the other items of a
    batch.

    Args:
        num_classes: K, the classes of the data.
        image_shape: (C, H, W).
    """

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_shape = image_shape

    def log_density(self, images: Tensor) -> Tensor:
        """Log p(x): (N, C, H, W) in [0, 1] -> (N,). In nats and exact, as a density over [0, 1]^(C H W), if the spec
        has the capability ``"likelihood"``; else up to a constant.

        Raises:
            NotImplementedError: The family has no density.
        """
        raise NotImplementedError(f"{type(self).__name__} has no density")

    def check_loaded(self) -> None:
        """Called after weights were loaded from a file, either imported or another model's.

        Raises:
            ValueError: The weights contradict the configuration, such as class centers of another norm.
        """

    def class_centers(self) -> Tensor | None:
        """Class centers in feature space, (K, d), or None if the family has none."""
        return None

    def stored_samples(self) -> Samples | None:
        """The replay buffer that the sampler kept from training, or None."""
        return None

    def sample(
        self,
        labels: Tensor,
        *,
        seed: int,
        index: Tensor,
        steps: int | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """New images for ``labels`` (N,): (N, C, H, W) in [0, 1].

        Args:
            labels: Class of each image; a model without classes generates the same distribution for all.
            seed: With ``index`` the only source of randomness: the draws of row i depend on (seed, index[i]) alone.
            index: (N,) int64 identities of the rows.
            steps: Sampler steps; None for the number used in training.
            start: Images in [0, 1] to start from; None for the family's own starts, such as uniform noise.

        Raises:
            NotImplementedError: The family cannot generate (its spec has no capability ``"samples"``).
        """
        raise NotImplementedError(f"{type(self).__name__} cannot generate images")


class Classifier(Model, ABC):
    """A model that classifies. Subclasses implement ``features`` and ``classify``, on which the other methods are based
    by default.
    """

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """phi(x): (N, C, H, W) in [0, 1] -> (N, d)."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Logits (N, K) from features (N, d); log p(y|x) is their log-softmax."""

    def logits(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, K)."""
        return self.classify(self.features(images))

    def forward(self, images: Tensor) -> Tensor:
        """The logits, so that an instance is a plain module for libraries."""
        return self.logits(images)

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor] | None:
        """(N, C, H, W) in [0, 1] -> logits (N, K) and features (N, d) from one pass. None if a subclass overrides
        ``logits``, which then need not follow from the features.
        """
        if type(self).forward is not Classifier.forward or type(self).logits is not Classifier.logits:
            return None
        features = self.features(images)
        return self.classify(features), features

    def evidence(self, features: Tensor, logits: Tensor) -> Tensor:  # noqa: ARG002 - for subclasses
        """Log p(x) up to a constant, (N,), from one forward pass; by default the log-sum-exp of the logits."""
        return torch.logsumexp(logits, dim=1)

    def log_density(self, images: Tensor) -> Tensor:
        """Log p(x): (N, C, H, W) in [0, 1] -> (N,), by default the evidence, which is known up to a constant."""
        features = self.features(images)
        return self.evidence(features, self.classify(features))

    def energy(self, images: Tensor, labels: Tensor) -> Tensor:
        """E(x, y) = -logit of y: (N, C, H, W), (N,) -> (N,)."""
        return -self.logits(images).gather(1, labels[:, None]).squeeze(1)

    def readouts(self) -> Mapping[str, Readout]:
        """Functions from features (N, d) to log-probabilities (N, K), by the names that the spec declares."""
        return {"native": lambda features: torch.log_softmax(self.classify(features), dim=1)}


@dataclass(frozen=True)
class Batch:
    """One batch of a stream: images (N, C, H, W), labels (N,) int64. Images are in [0, 1] except for training noise,
    which is not clamped.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class StreamSpec:
    """One endless, independently shuffled stream over the training set.

    Attributes:
        augment: Apply the data set's augmentation.
        sigma: Standard deviation of added Gaussian noise in units of the [-1, 1] scale.
    """

    augment: bool = True
    sigma: float = 0.0


@dataclass(frozen=True)
class Iteration:
    """The position in training: ``index`` and ``epoch`` from 0, ``per_epoch`` iterations in an epoch, and the sources
    of all random draws of a step.

    Draw from ``seed`` through `bench.rng` (``indexed_noise`` and its like), which makes the same numbers on every
    device and keeps no state, or from the checkpointed ``generator``, whose numbers differ between kinds of devices.
    """

    index: int
    epoch: int
    per_epoch: int
    generator: torch.Generator

    def seed(self, purpose: str) -> int:
        """A seed for a purpose in this iteration; other purposes, iterations and restarts have other ones."""
        return derive_seed(self.generator.initial_seed(), self.index, purpose)


@dataclass(frozen=True)
class Step:
    """The result of one training step.

    Attributes:
        loss: The scalar to minimise.
        logs: Detached scalars to log.
        again: Computes the loss with the weights as they are when it is called, on the same batches and samples; for a
            `Family.update` that needs the gradient at other weights.
    """

    loss: Tensor
    logs: Mapping[str, Tensor] = field(default_factory=dict)
    again: Callable[[], Tensor] | None = None


@dataclass(frozen=True)
class Update:
    """What `Family.update` needs to change the weights once.

    Attributes:
        step: The training step.
        model: The model.
        optimizer: The optimiser of the suite, with the learning rate of the iteration.
        clip: Largest L2 norm of the gradient over all parameters; None: any.
    """

    step: Step
    model: nn.Module
    optimizer: torch.optim.Optimizer
    clip: float | None = None

    def backward(self, loss: Tensor | None = None) -> None:
        """Replace the gradients by those of a loss; default: that of the step."""
        self.optimizer.zero_grad(set_to_none=True)
        (self.step.loss if loss is None else loss).backward()  # type: ignore[no-untyped-call]

    def apply(self) -> None:
        """Clip the gradients, if that is asked for, and change the weights."""
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()

    @contextmanager
    def ascended(self, rho: float, *, adaptive: bool = False) -> Iterator[None]:
        """Move the weights by a distance ``rho`` along their gradient while the context lasts: the first step of
        sharpness-aware minimisation (Foret et al. 2021, Eq. 2). Gradients that are computed meanwhile are those at the
        moved weights; the weights are restored to the bit. Nothing moves if the gradient is zero or not finite.

        Args:
            rho: Distance in L2 over all parameters, positive.
            adaptive: Measure the distance of each weight in units of its own size: w moves by
                ``rho * w^2 g / ||w g||_2`` (Kwon et al. 2021, Eq. 7 without the small constant eta, so that a weight of
                0 does not move).
        """
        pairs = [(p, p.grad) for p in self.model.parameters() if p.grad is not None]
        with torch.no_grad():
            before = [(p, p.detach().clone()) for p, _ in pairs]
            scaled = [gradient * p.abs() if adaptive else gradient for p, gradient in pairs]
            norm = torch.stack([torch.linalg.vector_norm(gradient) for gradient in scaled]).norm()
            moves = norm.isfinite() & (norm > 0)
            for (p, _), gradient in zip(pairs, scaled, strict=True):
                direction = gradient * p.abs() if adaptive else gradient
                p.add_(torch.where(moves, direction * (rho / norm), 0.0))
        try:
            yield
        finally:
            with torch.no_grad():
                for p, value in before:
                    p.copy_(value)


@dataclass(frozen=True)
class Imported:
    """The converted content of a foreign checkpoint, as an importer of a ``FamilySpec`` returns it.

    Attributes:
        weights: Tensors by the names of the family; ``bench import`` compares them with the model.
        state: ``images`` (on the [-1, 1] scale), ``labels`` and ``age`` of the replay buffer; empty if there is none.
        ignored: Names of tensors without a place in our model, with the reason.
        notes: Remarks for users.
        facts: Further facts for the record of the model, as JSON values.
    """

    weights: Mapping[str, Tensor]
    state: Mapping[str, Tensor] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class State(Protocol):
    """The state that a family keeps in training in addition to the weights, such as a replay buffer. Checkpoints
    contain it.
    """

    def state_dict(self) -> dict[str, Tensor]:
        """The state as named tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state that ``state_dict`` returned."""
        ...


C = TypeVar("C", bound=TrainingConfig)


class Family(ABC, Generic[C]):
    """Builds and trains the models of one family. The harness owns the loop, optimiser and schedule.

    Args:
        config: The resolved hyper-parameters, an instance of the spec's schema.
    """

    trains: ClassVar[bool] = True
    """False for models that need no training: the harness then builds and saves them."""
    notes: tuple[str, ...] = ()
    """Notes of ``build`` for the record of a model that needs no training."""

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> Model:
        """A freshly initialised model on ``backbone`` (a module with ``feature_dim``): a `Classifier`, unless the spec
        says that the family does not classify.

        It keeps the backbone as its attribute ``backbone`` and calls it as a module, so that training can run it in
        bf16. Its features are float32 in any precision.

        Raises:
            ValueError: The backbone does not fit, for example too few features for the class centers.
        """

    def streams(self) -> Mapping[str, StreamSpec]:
        """The streams that ``training_step`` reads; the first sets the length of an epoch."""
        return {"train": StreamSpec(augment=self.config.augment, sigma=self.config.sigma)}

    def before_training(self, model: Any, clean: Callable[[], Iterable[Batch]]) -> None:
        """Called on the initial weights, before ``start``: for what a family estimates from the data and keeps in
        buffers of the model. ``clean`` iterates over the clean, un-augmented training set. A training that goes on
        after an interruption calls it again, and then restores the buffers from the checkpoint.
        """

    def start(self, model: Any, generator: torch.Generator) -> State | None:  # noqa: ARG002 - for subclasses
        """The state at the beginning of training, or None. Of a model that needs no training it is the state that
        ``attach`` gets.
        """
        return None

    def attach(self, model: Any, state: Mapping[str, Tensor]) -> None:
        """Give a trained model its state at the selected epoch, for ``stored_samples``."""

    @abstractmethod
    def training_step(self, model: Any, batches: Mapping[str, Batch], state: Any, iteration: Iteration) -> Step:
        """The loss of one step, which `update` minimises. May update ``state``."""

    def update(self, model: Any, update: Update) -> None:  # noqa: ARG002 - for subclasses
        """Change the weights once; the loop calls it after each step.

        The default computes the gradients of the loss and lets the optimiser of the suite apply them. A family that
        perturbs weights computes further gradients before; one that needs a second optimiser keeps it in its state, so
        that checkpoints have it.

        Args:
            model: The model.
            update: The step with the optimiser.
        """
        update.backward()
        update.apply()

    def after_training(self, model: Any, clean: Callable[[], Iterable[Batch]]) -> None:
        """Called once on the selected weights; ``clean`` iterates over the clean, un-augmented training set."""
