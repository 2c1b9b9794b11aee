"""Selection and display of generated images. Runs in workers."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.family import Classifier, Samples
from bench.metrics.predictions import predicted_classes
from bench.metrics.resampling import stratified_draws

__all__ = ["Generated", "class_grid", "generated", "picture"]

Source = Literal["buffer", "fresh"]
BATCH = 250
PIXELS = 2**26
"""Largest number of pixels of an enlarged picture."""


@dataclass(frozen=True)
class Generated(Samples):
    """Samples whose ``labels`` are the classes for which they were generated or, for images without an intended class,
    the predictions of the model (-1 if there is none).

    Attributes:
        intended: (N,) whether the label is the class for which the image was generated.
    """

    intended: Tensor


def generated(
    model: Classifier, source: Source, n: int, *, seed: int, steps: int | None, num_classes: int
) -> Generated:
    """At most ``n`` images that the model generated, with the class of each.

    ``buffer``: the sampler's buffer from training, without slots that are still noise (age 0) and without selection by
    confidence, in a seeded random order; if there are more than ``n``, a subset with the same class shares. Chains
    without a class get the model's prediction. ``fresh``: new chains from uniform noise, with classes in turn.

    Args:
        model: A generative classifier; for ``buffer`` with its state attached.
        source: Source of the images.
        n: Largest number of images.
        seed: Seed of the subset and of sampler noise.
        steps: Sampler steps of fresh chains; None: as in training.
        num_classes: Number of classes K.

    Raises:
        ValueError: The model keeps no samples, or all are still noise.
    """
    device = next(model.parameters()).device
    if source == "fresh":
        labels = torch.arange(n, device=device) % num_classes
        index = torch.arange(n, device=device)
        pieces = [
            model.sample(labels[i : i + BATCH], seed=seed, index=index[i : i + BATCH], steps=steps)
            for i in range(0, n, BATCH)
        ]
        ones = torch.ones_like(labels)
        return Generated(torch.cat(pieces), labels, ones, ones.bool())
    stored = model.stored_samples()
    if stored is None:
        raise ValueError('the model kept no samples from training; source = "fresh" makes new ones')
    used = (stored.age > 0).nonzero().squeeze(1)
    if not len(used):
        raise ValueError("every image in the buffer is still noise")
    images, labels, age = stored.images[used], stored.labels[used], stored.age[used]
    intended = labels >= 0
    if not bool(intended.all()):
        with torch.no_grad():
            logits = torch.cat([model.logits(images[i : i + BATCH]).cpu() for i in range(0, len(used), BATCH)])
        labels = torch.where(intended, labels, torch.from_numpy(predicted_classes(logits.double().numpy())).to(device))
    # Shuffled even if all are taken: a buffer is sorted by class, and each split of a score needs all classes.
    (order,) = stratified_draws(labels.cpu().numpy(), min(n, len(used)), 1, seed)
    chosen = torch.from_numpy(order).to(device)
    return Generated(images[chosen], labels[chosen], age[chosen], intended[chosen])


def class_grid(samples: Samples, num_classes: int, columns: int) -> NDArray[np.uint8]:
    """A picture with one row of images per class, the oldest chains first.

    Returns:
        uint8 of shape (K (H + 1) - 1, columns (W + 1) - 1, C); grey between images and where a class has fewer.
    """
    _, channels, height, width = samples.images.shape
    grid = np.full((num_classes * (height + 1), columns * (width + 1), channels), 128, dtype=np.uint8)
    images = (samples.images.nan_to_num(0.0).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    labels, age = samples.labels.cpu().numpy(), samples.age.cpu().numpy()
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(-age[members], kind="stable")][:columns]
        for column, member in enumerate(members):
            top, left = label * (height + 1), column * (width + 1)
            grid[top : top + height, left : left + width] = images[member]
    return grid[:-1, :-1]


def picture(pixels: NDArray[np.uint8], least_side: int = 480) -> bytes:
    """A PNG of the picture, enlarged by an integer factor without smoothing, so that small images are visible.

    Args:
        pixels: uint8 of shape (H, W, 1) or (H, W, 3).
        least_side: Smallest length of the shorter side in pixels, unless the picture would have more than `PIXELS`
            pixels then, as a single row of many images would.
    """
    from PIL import Image

    height, width = pixels.shape[:2]
    factor = max(1, min(least_side // min(height, width), math.isqrt(PIXELS // (height * width))))
    large = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    image = Image.fromarray(large[:, :, 0] if large.shape[2] == 1 else large)
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    return content.getvalue()
