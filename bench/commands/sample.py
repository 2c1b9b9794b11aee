"""Sampling from a generative model into a picture, with energies and confidences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import RequestError
from bench.rng import derive_seed, seeded

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.family import Samples

__all__ = ["MOST", "MOST_STEPS", "PIXELS", "draw"]

MOST = 10_000
"""Largest number of images in one picture."""
MOST_STEPS = 100_000
"""Largest number of steps of one chain: five thousand times that of the papers."""
PIXELS = 2**26
"""Largest number of pixels of one picture."""


def draw(
    bench: Bench,
    name: str,
    *,
    suite: str | None,
    profile: str | None,
    count: int,
    classes: tuple[int, ...],
    steps: int | None,
    source: str,
    seed: int,
    device: str,
    out: Path,
) -> dict[str, Any]:
    """Draw images, write the picture, and return facts about each class.

    Args:
        bench: Settings and store.
        name: The model, as for ``Bench.load_model``.
        suite: Where the model is defined; default: the suite last run.
        profile: Profile of the suite.
        count: Number of images in total, at most `MOST`. Classes have equally many, or the first ones one more. If the
            buffer holds fewer images of a class, other classes take its places.
        classes: Classes to draw; empty for all.
        steps: Sampler steps of fresh chains, at most `MOST_STEPS`; None for the number used in training.
        source: ``"fresh"`` or ``"buffer"``.
        seed: Image i of a class depends on (seed, class, i) alone.
        device: Torch device.
        out: Path of the PNG file.

    Raises:
        RequestError: There is no such model, class or device, the buffer holds too few images, the model cannot
            generate, or a limit is exceeded.
    """
    # Mistakes in the request are reported before a network is built.
    if out.suffix.lower() != ".png":
        raise RequestError(f"{out}: the picture is a PNG; give a name that ends in .png")
    if count < 1:
        raise RequestError(f"{count} images: expected at least 1")
    if count > MOST:
        raise RequestError(f"{count:,} images: the limit is {MOST:,}; this draws a picture to look at")
    if steps is not None and not 0 <= steps <= MOST_STEPS:
        raise RequestError(f"{steps:,} steps: expected 0 to {MOST_STEPS:,}")
    if steps is not None and source == "buffer":
        raise RequestError("the buffer holds images as training left them: steps are for fresh chains")
    import torch

    from bench.evaluate.samples import BATCH, class_grid, picture
    from bench.family import Samples
    from bench.files.atomic import write_atomically

    _check_device(device)
    model = bench.load_model(name, suite=suite, profile=profile, device=device)
    known = range(model.num_classes)
    wanted = tuple(dict.fromkeys(classes)) or tuple(known)
    for label in wanted:
        if label not in known:
            raise RequestError(f"class {label}: expected 0 to {model.num_classes - 1}")
    _check_picture(min(len(wanted), count), -(-count // len(wanted)), model.image_shape)
    if source == "buffer":
        samples = _from_buffer(model, wanted, count)
    else:
        shares = [count // len(wanted) + (place < count % len(wanted)) for place in range(len(wanted))]
        labels = torch.tensor([label for label, n in zip(wanted, shares, strict=True) for _ in range(n)], device=device)
        # Each (class, position) has an index of its own: further classes or images do not change the other images.
        position = torch.tensor([i for n in shares for i in range(n)], device=device)
        index = labels * 1_000_003 + position
        try:
            with seeded(derive_seed(seed, "sample")):
                pieces = [
                    model.sample(labels[i : i + BATCH], seed=seed, index=index[i : i + BATCH], steps=steps)
                    for i in range(0, len(labels), BATCH)
                ]
        except NotImplementedError as error:
            raise RequestError(f"{name}: {error}") from error
        samples = Samples(torch.cat(pieces), labels, torch.ones_like(labels))
    with torch.no_grad(), seeded(derive_seed(seed, "logits")):
        logits = torch.cat([model.logits(samples.images[i : i + BATCH]) for i in range(0, len(samples.images), BATCH)])
        probabilities = torch.softmax(logits.double(), dim=1)
        finite = logits.isfinite().all(dim=1)
    rows = []
    for label in wanted:
        own = samples.labels == label
        if not bool(own.any()):
            continue
        rows.append(
            {
                "class": label,
                "n": int(own.sum()),
                "energy": float(-logits[own, label].double().mean()),
                "confidence": float(probabilities[own, label].mean()),
                "agreement": float((finite[own] & (logits[own].argmax(dim=1) == label)).double().mean()),
            }
        )
    order = {row["class"]: place for place, row in enumerate(rows)}
    columns = max(int((samples.labels == label).sum()) for label in order)
    _check_picture(len(rows), columns, model.image_shape)  # a buffer may hold many more images of one class than others
    placed = torch.tensor([order[int(label)] for label in samples.labels.cpu()], device=samples.labels.device)
    grid = class_grid(Samples(samples.images, placed, samples.age), len(rows), columns)
    write_atomically(out, picture(grid))
    return {"model": name, "source": source, "n": len(samples.images), "out": str(out), "classes": rows}


def _check_picture(rows: int, columns: int, image_shape: tuple[int, int, int]) -> None:
    """Refuse a picture that is too large, before its images are drawn.

    Raises:
        RequestError: The picture would have more than `PIXELS` pixels.
    """
    _, height, width = image_shape
    pixels = rows * (height + 1) * columns * (width + 1)
    if pixels > PIXELS:
        raise RequestError(
            f"{rows} x {columns} images of {height}x{width} pixels: a picture of {pixels:,} pixels; the limit is "
            f"{PIXELS:,}"
        )


def _check_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        RequestError: There is no such device; the message lists those that exist.
    """
    import torch

    try:
        found = torch.device(device)
    except RuntimeError:
        raise RequestError(f"{device!r} is no device: expected cpu, cuda or cuda:<number>") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise RequestError(f"no device {device}: {torch.cuda.device_count()} CUDA devices are visible")


def _from_buffer(model: Any, wanted: tuple[int, ...], count: int) -> Samples:
    """The longest-lived chains of each class; classes take turns while they have chains left."""
    import torch

    from bench.evaluate.samples import generated
    from bench.family import Samples

    try:
        stored = generated(model, "buffer-all", 0, seed=0, steps=None, num_classes=model.num_classes)
    except ValueError as error:
        raise RequestError(str(error)) from error
    by_age = torch.argsort(stored.age, descending=True, stable=True)
    members = [by_age[stored.labels[by_age] == label].tolist() for label in wanted]
    turns = [own[turn] for turn in range(max(map(len, members))) for own in members if turn < len(own)]
    if len(turns) < count:
        which = "" if len(wanted) == model.num_classes else " of these classes"
        raise RequestError(f"{count} images: the buffer holds {len(turns)}{which} that are no longer noise")
    chosen = set(turns[:count])
    index = torch.tensor([item for own in members for item in own if item in chosen], device=stored.labels.device)
    return Samples(stored.images[index], stored.labels[index], stored.age[index])
