"""Selection and display of generated images. Runs in workers."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.evaluate.sampling import Selection
from bench.family import Classifier, Model, Samples
from bench.metrics.predictions import NO_CLASS, predicted_classes
from bench.metrics.resampling import stratified_draws
from bench.scores.logits import max_probability

__all__ = ["Generated", "class_grid", "generated", "picture"]

BATCH = 250
PIXELS = 2**26
"""Largest number of pixels of an enlarged picture."""


@dataclass(frozen=True)
class Generated(Samples):
    """Samples whose ``labels`` are the classes for which they were generated or, for images without an intended class,
    the predictions of the model (-1 if there is none, or if the model does not classify).

    Attributes:
        intended: (N,) whether the label is the class for which the image was generated.
        origin: (N,) slots of the buffer, or numbers of fresh chains.
        counts: Facts about the buffer, for records: number of ``slots``, of ``never_updated`` ones (still at their
            initial noise, left out; None if that cannot be known), of slots ``updated_once``, and of slots that the
            selection had for choice (``candidates``). Empty for fresh chains.
    """

    intended: Tensor
    origin: Tensor
    counts: Mapping[str, int | None]


def generated(
    model: Model,
    selection: Selection,
    n: int,
    *,
    seed: int,
    steps: int | None,
    num_classes: int,
    per_class: int = 0,
    ages_known: bool = True,
) -> Generated:
    """Images that the model generated, with the class of each.

    From the sampler's buffer as training left it, without slots that are still noise (age 0), in a seeded random order:

    - ``buffer-random-n``: at most ``n`` images without selection by confidence; if there are more, a subset with the
      same class shares.
    - ``buffer-all``: all of them.
    - ``buffer-top-k-per-class``: of the images that the model puts into a class, the ``per_class`` with the highest
      confidence. This is how the code of GMMC selects, which also ranks slots that are still noise. Images are ranked
      by log-odds in float64, because float32 confidences are mostly equal to 1; of equal ones the first slot counts.
      Images without finite logits are left out.

    ``buffer-or-fresh`` is ``buffer-random-n`` of a model that has a buffer, and ``fresh-k-steps`` of others.

    Chains without a class get the model's prediction, if it classifies. ``fresh-k-steps``: ``n`` new chains from
    the family's starts, such as uniform noise, with classes in turn.

    Args:
        model: A generative model; for buffers with its state attached.
        selection: The images.
        n: Number of images, at most.
        seed: Seed of the subset and of sampler noise.
        steps: Sampler steps of fresh chains; None: as in training.
        num_classes: Number of classes K.
        per_class: k of ``buffer-top-k-per-class``.
        ages_known: False for a buffer that came without ages, in which noise cannot be told from samples.

    Raises:
        ValueError: The model keeps no samples, all are still noise, or none has finite logits.
    """
    stored = model.stored_samples() if selection != "fresh-k-steps" else None
    if selection == "fresh-k-steps" or (selection == "buffer-or-fresh" and stored is None):
        return _fresh(model, n, seed=seed, steps=steps, num_classes=num_classes)
    if stored is None:
        raise ValueError('the model kept no samples from training; selection = "fresh-k-steps" makes new ones')
    used = (stored.age > 0).nonzero().squeeze(1)
    if not len(used):
        raise ValueError("every image in the buffer is still noise")
    images, labels = stored.images[used], stored.labels[used]
    intended = labels >= 0
    logits = None
    if selection == "buffer-top-k-per-class" and not isinstance(model, Classifier):
        raise ValueError(f"{selection}: the model does not classify, so it is not more confident of some images")
    if isinstance(model, Classifier) and (selection == "buffer-top-k-per-class" or not bool(intended.all())):
        logits = _logits(model, images)
        predicted = torch.from_numpy(predicted_classes(logits)).to(labels.device)
        labels = torch.where(intended, labels, predicted)
    kept = torch.arange(len(used), device=used.device)
    if selection == "buffer-top-k-per-class":
        assert logits is not None
        kept = torch.from_numpy(_most_confident(logits, per_class)).to(used.device)
        if not len(kept):
            raise ValueError("no image in the buffer has finite logits")
    most = n if selection in ("buffer-random-n", "buffer-or-fresh") else len(kept)
    # Shuffled even if all are taken: a buffer is sorted by class, and each split of a score needs all classes.
    (order,) = stratified_draws(labels[kept].cpu().numpy(), min(most, len(kept)), 1, seed)
    chosen = kept[torch.from_numpy(order).to(kept.device)]
    counts = {
        "slots": len(stored.age),
        "never_updated": len(stored.age) - len(used) if ages_known else None,
        "updated_once": int((stored.age == 1).sum()) if ages_known else None,
        "candidates": len(kept),
    }
    return Generated(images[chosen], labels[chosen], stored.age[used][chosen], intended[chosen], used[chosen], counts)


def _fresh(model: Model, n: int, *, seed: int, steps: int | None, num_classes: int) -> Generated:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    labels = torch.arange(n, device=device) % num_classes
    index = torch.arange(n, device=device)
    if type(model).sample is Model.sample:
        raise ValueError("the model makes no new images; it has those with which it came")
    pieces = [
        model.sample(labels[i : i + BATCH], seed=seed, index=index[i : i + BATCH], steps=steps)
        for i in range(0, n, BATCH)
    ]
    ones = torch.ones_like(labels)
    conditional = isinstance(model, Classifier)
    return Generated(
        torch.cat(pieces), labels if conditional else -ones, ones, torch.full_like(ones, conditional).bool(), index, {}
    )


@torch.no_grad()
def _logits(model: Classifier, images: Tensor) -> NDArray[np.float64]:
    parts = [model.logits(images[i : i + BATCH]).cpu() for i in range(0, len(images), BATCH)]
    return torch.cat(parts).double().numpy()


def _most_confident(logits: NDArray[np.float64], per_class: int) -> NDArray[np.int64]:
    """Indices of the ``per_class`` rows of each predicted class with the highest log-odds, in their order."""
    predicted = predicted_classes(logits)
    finite = np.flatnonzero(predicted != NO_CLASS)
    odds = max_probability(logits[finite])
    ranked = finite[np.argsort(-odds, kind="stable")]
    best = [ranked[predicted[ranked] == label][:per_class] for label in np.unique(predicted[finite])]
    return np.sort(np.concatenate([*best, np.empty(0, dtype=np.int64)])).astype(np.int64)


@torch.no_grad()
def center_distances(model: Model, samples: Samples) -> NDArray[np.float64] | None:
    """Euclidean distance of the features of each image to the center of its class, in float64.

    Args:
        model: The model that generated the images, in eval mode.
        samples: The images; those made for no class are measured against the center of the predicted class.

    Returns:
        Shape (n,); None if the model has no class centers.
    """
    function = getattr(model, "class_centers", None)
    centers = function() if callable(function) else None
    if not isinstance(centers, Tensor) or not isinstance(model, Classifier):
        return None
    found = []
    device = centers.device
    for start in range(0, len(samples.images), BATCH):
        features = model.features(samples.images[start : start + BATCH].to(device))
        labels = samples.labels[start : start + BATCH].to(device)
        labels = torch.where(labels < 0, model.classify(features).argmax(dim=1), labels)
        found.append((features.double() - centers.double()[labels]).norm(dim=1).cpu().numpy())
    return np.concatenate(found)


def class_grid(
    samples: Samples, num_classes: int, columns: int, order: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """A picture with one row of images per class; of images without any class, with as many rows.

    Args:
        samples: The images.
        num_classes: K.
        columns: Images per class.
        order: A number for each image; those with the smallest come first. Default: the oldest chains.

    Returns:
        uint8 of shape (K (H + 1) - 1, columns (W + 1) - 1, C); grey between images and where a class has fewer.
    """
    _, channels, height, width = samples.images.shape
    grid = np.full((num_classes * (height + 1), columns * (width + 1), channels), 128, dtype=np.uint8)
    images = (samples.images.nan_to_num(0.0).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    labels = samples.labels.cpu().numpy()
    rank = -samples.age.cpu().numpy().astype(np.float64) if order is None else order
    if (labels < 0).all():
        labels = np.arange(len(labels)) % num_classes  # rows without a meaning
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(rank[members], kind="stable")][:columns]
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
