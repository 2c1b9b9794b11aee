"""The implementation, which only workers import."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from a_skeleton import ASkeletonConfig, SamplerConfig
from bench.family import Batch, Classifier, Family, Iteration, Samples, Step
from bench.rng import indexed_uniform, indexed_unit, permutation

__all__ = ["ASkeleton", "ASkeletonClassifier", "Chains"]


class ASkeletonClassifier(Classifier):
    """log p(x, y) = logit of y, up to a constant; so p(y|x) is the softmax and log p(x) the log-sum-exp of the logits.

    Args:
        backbone: A module with ``feature_dim``, d.
        num_classes: K.
        image_shape: (C, H, W).
        sampler: Steps of the sampler and their size.
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int], sampler: SamplerConfig
    ) -> None:
        super().__init__(num_classes, image_shape)
        self.backbone = backbone
        self.head = nn.Linear(int(backbone.feature_dim), num_classes)  # type: ignore[arg-type]
        self.sampler = sampler
        self.stored: Samples | None = None

    def features(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] -> (N, d); any scaling happens here."""
        features: Tensor = self.backbone(2 * images - 1)
        return features

    def classify(self, features: Tensor) -> Tensor:
        """(N, d) -> logits (N, K), in the type of the features: read-outs ask with float64."""
        return F.linear(features, self.head.weight.to(features.dtype), self.head.bias.to(features.dtype))

    def stored_samples(self) -> Samples | None:
        """The chains as training left them."""
        return self.stored

    def sample(
        self, labels: Tensor, *, seed: int, index: Tensor, steps: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        """Images (N, C, H, W) for labels (N,). The noise of row i depends on (seed, index[i]) alone."""
        if start is None:
            start = (indexed_uniform(seed, index, self.image_shape, labels.device) + 1) / 2
        return self.ascend(start, labels, self.sampler.steps if steps is None else steps)

    def ascend(self, images: Tensor, labels: Tensor, steps: int) -> Tensor:
        """Steps along the gradient of log p(x, y) with pixels cut to [0, 1]; the parameters get no gradients."""
        with torch.inference_mode(False), torch.enable_grad():
            x = images.detach().clone()
            for _ in range(steps):
                x.requires_grad_()
                density = self.logits(x).gather(1, labels[:, None]).sum()
                (gradient,) = torch.autograd.grad(density, x)
                x = (x.detach() + self.sampler.step_size * gradient).clamp(0, 1)
        return x


class Chains:
    """Sampler chains that training keeps: images in [0, 1], labels and ages. Checkpoints contain them."""

    def __init__(
        self, size: int, image_shape: tuple[int, int, int], num_classes: int, seed: int, device: torch.device
    ) -> None:
        rows = torch.arange(size, device=device)
        self.images = (indexed_uniform(seed, rows, image_shape, device) + 1) / 2
        self.labels = torch.arange(size, device=device) % num_classes
        self.age = torch.zeros(size, dtype=torch.int64, device=device)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything by name."""
        return {"images": self.images, "labels": self.labels, "age": self.age}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` returned."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])


class ASkeleton(Family[ASkeletonConfig]):
    """Cross-entropy + weight (mean log p(samples) - mean log p(data)) + ridge (mean squares of both)."""

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> ASkeletonClassifier:
        """A head with PyTorch's initial weights on the backbone."""
        return ASkeletonClassifier(backbone, num_classes, image_shape, self.config.sampler)

    def start(self, model: ASkeletonClassifier, generator: torch.Generator) -> Chains:
        """Chains of uniform noise, with the classes in turn."""
        size, seed = self.config.sampler.buffer, generator.initial_seed()
        return Chains(size, model.image_shape, model.num_classes, seed, generator.device)

    def attach(self, model: ASkeletonClassifier, state: Mapping[str, Tensor]) -> None:
        """Keep the chains of training for ``stored_samples``."""
        model.stored = Samples(state["images"], state["labels"], state["age"])

    def training_step(
        self, model: ASkeletonClassifier, batches: Mapping[str, Batch], state: Chains, iteration: Iteration
    ) -> Step:
        """The loss of a batch. Logs called fp and fq are watched for divergence."""
        batch = batches["train"]
        # The harness may have restarted with other sampler settings than those at the beginning.
        model.sampler = self.config.sampler
        logits, samples = model.logits(batch.images), self._advanced(model, state, len(batch.labels), iteration)
        real, sampled = torch.logsumexp(logits, dim=1), model.log_density(samples)
        entropy = F.cross_entropy(logits, batch.labels)
        ridge = real.square().mean() + sampled.square().mean()
        loss = entropy + self.config.weight * (sampled.mean() - real.mean()) + self.config.ridge * ridge
        return Step(loss, {"cross_entropy": entropy, "fp": real.mean(), "fq": sampled.mean()})

    def _advanced(self, model: ASkeletonClassifier, state: Chains, count: int, iteration: Iteration) -> Tensor:
        """Up to ``count`` chains of the buffer, each ``steps`` further; some start again from noise."""
        device = state.images.device
        slots = permutation(iteration.seed("slots"), len(state.age), device)[:count]
        rows = torch.arange(len(slots), device=device)
        fresh = indexed_unit(iteration.seed("restarts"), rows) < self.config.sampler.reinit
        noise = (indexed_uniform(iteration.seed("noise"), rows, model.image_shape, device) + 1) / 2
        start = torch.where(fresh[:, None, None, None], noise, state.images[slots])
        samples = model.ascend(start, state.labels[slots], self.config.sampler.steps)
        state.images[slots] = samples
        state.age[slots] = torch.where(fresh, 0, state.age[slots]) + 1
        return samples
