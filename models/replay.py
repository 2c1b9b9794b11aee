"""Replay buffer of sampler chains (GMMC paper, Algorithm 1; JEM; first used by IGEBM)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.rng import derive_seed, indexed_integers, indexed_normal, indexed_uniform, indexed_unit

__all__ = ["Draw", "ReplayBuffer", "Start"]

Start = Callable[[Tensor, Tensor], Tensor]
"""A distribution of new chains: (standard normal noise (n, C, H, W), labels (n,)) -> images (n, C, H, W)."""

_STATE_KEYS = ("images", "labels", "age")


@dataclass(frozen=True)
class Draw:
    """Chains from a buffer. A sampler advances them, and ``ReplayBuffer.write_back`` stores them.

    Attributes:
        indices: (n,) int64, slots of the chains.
        images: (n, C, H, W) float32, starts of the sampler.
        labels: (n,) int64, classes of the chains.
        age: (n,) int32, number of updates of each chain; 0: new noise.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor
    age: Tensor


class ReplayBuffer:
    """Images and labels of ``size`` sampler chains, on one device.

    Slots are divided into one contiguous partition per class: class y owns the slots
    [floor(y size / K), floor((y + 1) size / K)). If K divides size, label = slot // (size // K); if not, partition
    sizes differ by at most one and every slot belongs to a class. Initially every image is uniform noise, or drawn by
    ``start`` for its label, and the label of a slot is its partition. Draws with given labels preserve this;
    unconditional draws do not, because a chain that is restarted gets a new label but keeps its slot.

    Random numbers are made on the device from the seed of a call, so that they are the same on every device, and the
    buffer keeps no state of a generator. No method waits for the device if buffer and arguments are on the same one.

    Args:
        size: Number of slots N, at least ``num_classes``.
        image_shape: (C, H, W).
        num_classes: K.
        seed: Seed of the initial images.
        device: Device of images, labels and ages; the images take 4 N C H W bytes.
        start: Distribution of new chains; None: U(-1, 1).

    Attributes:
        images: (N, C, H, W) float32.
        labels: (N,) int64.
        age: (N,) int32, updates of each slot since it was noise; 0: never updated.

    Raises:
        ValueError: ``size`` < ``num_classes``, ``num_classes`` < 1, or the image is empty.
    """

    def __init__(
        self,
        size: int,
        image_shape: tuple[int, int, int],
        num_classes: int,
        *,
        seed: int,
        device: torch.device | str,
        start: Start | None = None,
    ) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        if size < num_classes:
            raise ValueError(
                f"buffer size must be at least the number of classes ({num_classes}), so that every class "
                f"has a slot; got {size}"
            )
        if min(image_shape) < 1:
            raise ValueError(f"image_shape must be (C, H, W), all positive; got {image_shape}")
        self.size = size
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.device = torch.device(device)
        self._start = start
        bounds = torch.arange(num_classes + 1) * size // num_classes
        self._partition_start = bounds[:-1].to(self.device)
        self._partition_size = bounds.diff().to(self.device)
        self.labels = torch.arange(num_classes, device=self.device).repeat_interleave(
            self._partition_size, output_size=size
        )
        self.images = self._new(self.labels, seed)
        self.age = torch.zeros(size, dtype=torch.int32, device=self.device)

    def draw(self, n: int, *, seed: int, labels: Tensor | None = None, reinit: float = 0.05) -> Draw:
        """Draw n chains, uniformly and with replacement.

        Without ``labels`` (unconditional), slots come from the whole buffer, and a chain keeps its label or, if it is
        restarted, gets a uniformly drawn one. With ``labels``, each slot comes from the partition of its label. The
        buffer does not change until ``write_back``.

        Args:
            n: Number of chains.
            seed: The only source of randomness, another one for each call: what is drawn for row i depends on (seed, i)
                and the buffer alone.
            labels: (n,) integers in [0, K), or None. Values are checked only on the CPU, because a check on another
                device would wait for it.
            reinit: Probability rho that a chain is restarted from the distribution of new chains, independently for
                each chain.

        Raises:
            ValueError: ``n`` < 1, ``reinit`` outside [0, 1], or labels of wrong shape, type or range.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        if not 0.0 <= reinit <= 1.0:
            raise ValueError(f"reinit is a probability and must be in [0, 1], got {reinit}")
        rows = torch.arange(n, device=self.device)
        slots, restarts, classes = (derive_seed(seed, purpose) for purpose in ("slots", "restarts", "classes"))
        if labels is None:
            indices = indexed_integers(slots, rows, self.size)
        else:
            self._check_labels(labels, n)
            labels = labels.to(self.device, torch.int64)
            indices = self._partition_start[labels] + indexed_integers(slots, rows, self._partition_size[labels])
        fresh = indexed_unit(restarts, rows) < reinit
        if labels is None:
            labels = torch.where(fresh, indexed_integers(classes, rows, self.num_classes), self.labels[indices])
        # Noise is drawn for all rows: selecting the fresh rows first would wait for the device.
        new = self._new(labels, derive_seed(seed, "images"))
        images = torch.where(fresh[:, None, None, None], new, self.images[indices])
        age = self.age[indices].masked_fill_(fresh, 0)
        return Draw(indices=indices, images=images, labels=labels, age=age)

    @torch.no_grad()
    def write_back(self, draw: Draw, images: Tensor) -> None:
        """Store advanced chains in their slots, with their labels and age + 1.

        If a slot was drawn more than once, the last row is stored, on every device.

        Args:
            draw: The return value of ``draw``.
            images: (n, C, H, W), the chains after the sampler. They are stored unchanged: the training loop handles
                values that are not finite.

        Raises:
            ValueError: ``images`` does not have the shape of ``draw.images``.
        """
        if images.shape != draw.images.shape:
            raise ValueError(
                f"images must have the shape of the draw, {tuple(draw.images.shape)}; got {tuple(images.shape)}"
            )
        # Writes to a repeated index have no defined order. So all rows of a slot write the values of its last row,
        # which a maximum finds independently of the order.
        rows = torch.arange(len(draw.indices), device=self.device)
        last_row = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        last_row.scatter_reduce_(0, draw.indices, rows, "amax")
        winner = last_row[draw.indices]
        self.images[draw.indices] = images.detach().to(self.device, self.images.dtype)[winner]
        self.labels[draw.indices] = draw.labels[winner]
        self.age[draw.indices] = draw.age[winner] + 1

    def state_dict(self) -> dict[str, Tensor]:
        """The whole state as tensors: images, labels and age.

        As in ``nn.Module.state_dict``, they are the buffer's own tensors, not copies.
        """
        return {"images": self.images, "labels": self.labels, "age": self.age}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state of ``state_dict`` in place.

        Raises:
            ValueError: Keys are missing or unknown, a shape or type differs, labels are outside [0, K), or ages are
                negative. The buffer is unchanged then.
        """
        if set(state) != set(_STATE_KEYS):
            raise ValueError(f"a buffer state has the keys {sorted(_STATE_KEYS)}, got {sorted(state)}")
        for name, own in (("images", self.images), ("labels", self.labels), ("age", self.age)):
            if state[name].shape != own.shape or state[name].dtype != own.dtype:
                raise ValueError(
                    f"buffer state {name!r} must be {own.dtype} of shape {tuple(own.shape)}, "
                    f"got {state[name].dtype} of shape {tuple(state[name].shape)}"
                )
        labels = state["labels"]
        if bool(((labels < 0) | (labels >= self.num_classes)).any()):
            raise ValueError(f"buffer state 'labels' has values outside [0, {self.num_classes})")
        if bool((state["age"] < 0).any()):
            raise ValueError("buffer state 'age' has negative values")
        self.images.copy_(state["images"])
        self.labels.copy_(labels)
        self.age.copy_(state["age"])

    def _check_labels(self, labels: Tensor, n: int) -> None:
        if labels.shape != (n,):
            raise ValueError(f"labels must have shape ({n},), got {tuple(labels.shape)}")
        if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
            raise ValueError(f"labels must be integers, got {labels.dtype}")
        if labels.device.type == "cpu" and bool(((labels < 0) | (labels >= self.num_classes)).any()):
            raise ValueError(f"labels must be in [0, {self.num_classes}), got {labels.min()} to {labels.max()}")

    def _new(self, labels: Tensor, seed: int) -> Tensor:
        """(n, C, H, W) new chains of classes (n,), by default uniform on [-1, 1)."""
        rows = torch.arange(len(labels), device=self.device)
        if self._start is None:
            return indexed_uniform(seed, rows, self.image_shape, self.device)
        return self._start(indexed_normal(seed, rows, self.image_shape, self.device), labels)
