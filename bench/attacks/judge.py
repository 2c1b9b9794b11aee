"""The one judge of all attacks, and the clean pass that attacks share. Only this module decides on success.

Success flags of attack libraries are never read: some count a black image as an adversarial example.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .frozen import FrozenModel
from .gradients import per_image
from .losses import Goal, margins
from .threat import ThreatModel


@dataclass(frozen=True)
class Judgement:
    """Verdicts on one proposal per image, all of shape (N,).

    Attributes:
        success: Clean-correct, valid, and misclassified (or classified as the target, if there is one).
        valid: Finite, in [0, 1], within the ball, with finite logits; proposals of libraries also neither equal to the
            image nor black.
        predictions: Predicted classes.
        margin: max_{k != y} z_k - z_y; positive where wrong.
        reach: Margin towards success: ``margin``, or z_t - max_{k != t} z_k with a target t.
        linf: L_inf norm of the perturbation.
        l2: L2 norm of the perturbation.
    """

    success: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    predictions: NDArray[np.int64]
    margin: NDArray[np.float64]
    reach: NDArray[np.float64]
    linf: NDArray[np.float64]
    l2: NDArray[np.float64]


class CleanPass:
    """The clean logits of one model, computed once per image, for several calls of `bench.attacks.run`.

    Images are identified by their content, so an attack on a subset finds its logits. The first attack must get all
    images: it fixes the shape of the batches in which proposals are judged (see `Judge`). The weights of the model must
    not change between the attacks.

    Args:
        model: The model under attack.
        batch_size: Images per forward pass in all attacks; the last bits of logits depend on it.
    """

    def __init__(self, model: nn.Module, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size
        self._shape: int | None = None
        self._known: dict[bytes, Tensor] = {}

    def shape(self, images: int) -> int:
        """Size of every judged batch: the number of ``images`` of the first attack, at most the batch size.

        Args:
            images: Number of images of the attack.
        """
        if self._shape is None:
            self._shape = min(self._batch_size, images)
        return self._shape

    def check(self, model: nn.Module, batch_size: int) -> None:
        """Refuse another model or batch size.

        Raises:
            ValueError: The model or the batch size differs.
        """
        if model is not self._model or batch_size != self._batch_size:
            raise ValueError("clean logits are of one model at one batch size; make a CleanPass for each")

    def logits(self, images: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """(N, K) logits of (N, C, H, W) images on the CPU; ``compute`` is called with the images not seen before."""
        keys = [hashlib.sha256(image.contiguous().numpy().tobytes()).digest() for image in images]
        unknown = [index for index, key in enumerate(keys) if key not in self._known]
        if unknown:
            found = compute(images[torch.tensor(unknown)])
            self._known |= {keys[index]: row for index, row in zip(unknown, found, strict=True)}
        return torch.stack([self._known[key] for key in keys])


class Judge:
    """Judges proposals for a fixed list of images.

    Predictions are recomputed in the precision of the images (float32 in every evaluation), in batches of one shape;
    smaller batches are filled up. Kernels, and so the last bits of logits, depend on the shape, but the verdict on an
    image must not depend on the number of other images. The batch size is the number of all images, at most
    ``batch_size``, so that few images cost little.

    Attributes:
        clean_logits: (N, K), on the CPU.
        clean_finite: (N,) whether all logits are finite.
        clean_correct: (N,) whether the clean prediction is right and its logits are finite.
    """

    def __init__(
        self,
        model: FrozenModel,
        images: Tensor,
        labels: Tensor,
        targets: Tensor | None,
        threat: ThreatModel,
        *,
        device: torch.device,
        batch_size: int,
        own: bool,
        kept: bool = False,
        clean: CleanPass | None = None,
    ) -> None:
        """Computes the clean predictions.

        Args:
            model: The frozen model.
            images: (N, C, H, W) clean images, on the CPU.
            labels: (N,) classes, on the CPU.
            targets: (N,) classes to reach, or None.
            threat: The threat model.
            device: Where the model is.
            batch_size: Images per forward pass.
            own: Whether the attack is ours; then a proposal outside the threat model is a bug and raises.
            kept: Whether the proposals are stored successes of any attack; then a black image within the ball is valid.
            clean: Holds the clean logits that attacks share; None: they are computed.

        Raises:
            ValueError: A label or target is not a class of the model, or a target is the label.
        """
        self._model = model
        self._images = images
        self._goal = Goal(labels, targets)
        self._threat = threat
        self._device = device
        self._batch_size = min(batch_size, len(images)) if clean is None else clean.shape(len(images))
        self._own = own
        self._kept = kept
        self.clean_logits = self._logits(images) if clean is None else clean.logits(images, self._logits)
        classes = self.clean_logits.shape[1]
        for name, values in (("labels", labels), ("targets", targets)):
            if values is not None and len(values) and (int(values.min()) < 0 or int(values.max()) >= classes):
                raise ValueError(f"{name} must be in 0..{classes - 1}, got {int(values.min())}..{int(values.max())}")
        if targets is not None and bool((targets == labels).any()):
            raise ValueError("a target must differ from the label of its image")
        finite = self.clean_logits.isfinite().all(dim=1)
        self.clean_finite: NDArray[np.bool_] = finite.numpy()
        self.clean_correct: NDArray[np.bool_] = (finite & (self.clean_logits.argmax(dim=1) == labels)).numpy()

    def judge(self, proposals: Tensor, index: NDArray[np.int64] | None = None) -> Judgement:
        """Judge one proposal per image.

        Args:
            proposals: (M, C, H, W), on the CPU.
            index: (M,) indices of their images; None: all images.

        Returns:
            Arrays of shape (M,).

        Raises:
            RuntimeError: An attack of our own left the threat model.
        """
        rows = torch.arange(len(self._images)) if index is None else torch.as_tensor(index)
        images, goal = self._images[rows], self._goal.rows(rows)
        if proposals.shape != images.shape:
            raise ValueError(f"expected proposals of shape {tuple(images.shape)}, got {tuple(proposals.shape)}")
        difference = (proposals.double() - images.double()).flatten(1)
        linf = difference.abs().amax(dim=1)
        l2 = difference.norm(dim=1)
        flat = proposals.flatten(1)
        inside = flat.isfinite().all(dim=1) & (flat >= 0).all(dim=1) & (flat <= 1).all(dim=1)
        inside &= (linf if self._threat.norm == "linf" else l2) <= self._threat.tolerance
        if self._own and not bool(inside.all()):
            worst = int((~inside).nonzero()[0])
            raise RuntimeError(
                f"the attack left its ball or box ({self._threat.norm} {self._threat.eps:g}): row {worst}, "
                f"linf {float(linf[worst]):g}, l2 {float(l2[worst]):g}"
            )
        # An invalid proposal is replaced before the forward pass, and stays invalid for any logits.
        logits = self._logits(torch.where(per_image(inside, images), proposals, images))
        predictions = logits.argmax(dim=1)
        untouched = l2 == 0
        blanked = (flat == 0).all(dim=1) & (images.flatten(1) != 0).any(dim=1)
        valid = inside & logits.isfinite().all(dim=1)
        if not self._own:
            # Libraries return such images where they gave up; our own attacks may find a black image that is wrong.
            valid &= ~(untouched if self._kept else untouched | blanked)
        correct = torch.from_numpy(self.clean_correct)[rows]
        logits = logits.double()
        return Judgement(
            success=(correct & valid & goal.reached(predictions)).numpy(),
            valid=valid.numpy(),
            predictions=predictions.numpy(),
            margin=margins(logits, goal.labels).numpy(),
            reach=goal.margin(logits).numpy(),
            linf=linf.numpy(),
            l2=l2.numpy(),
        )

    def clean_margin(self) -> NDArray[np.float64]:
        """(N,) max_{k != y} z_k - z_y of the clean images; negative where they are classified correctly."""
        values: NDArray[np.float64] = margins(self.clean_logits.double(), self._goal.labels).numpy()
        return values

    def _logits(self, images: Tensor) -> Tensor:
        if not len(images):
            return self.clean_logits[:0]
        outputs = []
        with torch.no_grad():
            for start in range(0, len(images), self._batch_size):
                batch = images[start : start + self._batch_size]
                missing = self._batch_size - len(batch)
                filled = torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]) if missing else batch
                outputs.append(self._model.logits(filled.to(self._device))[: len(batch)].detach().cpu())
        return torch.cat(outputs)
