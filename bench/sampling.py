"""Drawing from a generative model for a person: a picture, with energies and confidences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import RequestError

if TYPE_CHECKING:
    from bench.api import Bench
    from bench.family import Samples

__all__ = ["draw"]


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
        profile: Of the suite.
        count: Images in all.
        classes: Classes to draw; all for none.
        steps: Sampler steps of fresh chains; None for those of training.
        source: ``"fresh"`` or ``"buffer"``.
        seed: Image i of a class depends on (seed, class, i) alone.
        device: Torch device.
        out: The PNG.

    Raises:
        RequestError: No such model or class, or the model cannot generate.
    """
    import torch

    from bench.evaluate.samples import BATCH, class_grid, picture
    from bench.family import Samples
    from bench.store import write_atomically

    model = bench.load_model(name, suite=suite, profile=profile, device=device)
    known = range(model.num_classes)
    wanted = tuple(dict.fromkeys(classes)) or tuple(known)
    for label in wanted:
        if label not in known:
            raise RequestError(f"class {label}: expected 0 to {model.num_classes - 1}")
    if count < 1:
        raise RequestError(f"{count} images: expected at least 1")
    if steps is not None and steps < 0:
        raise RequestError(f"{steps} steps: expected 0 or more")
    columns = -(-count // len(wanted))
    if source == "buffer":
        samples = _from_buffer(model, wanted, columns)
    else:
        labels = torch.tensor([label for label in wanted for _ in range(columns)][:count], device=device)
        # An index of its own for each (class, position): adding classes or images changes none of the others.
        position = torch.tensor([i for _ in wanted for i in range(columns)][:count], device=device)
        index = labels * 1_000_003 + position
        try:
            pieces = [
                model.sample(labels[i : i + BATCH], seed=seed, index=index[i : i + BATCH], steps=steps)
                for i in range(0, len(labels), BATCH)
            ]
        except NotImplementedError as error:
            raise RequestError(f"{name}: {error}") from error
        samples = Samples(torch.cat(pieces), labels, torch.ones_like(labels))
    with torch.no_grad():
        logits = torch.cat([model.logits(samples.images[i : i + BATCH]) for i in range(0, len(samples.images), BATCH)])
        probabilities = torch.softmax(logits.double(), dim=1)
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
                "agreement": float((logits[own].argmax(dim=1) == label).double().mean()),
            }
        )
    order = {label: row for row, label in enumerate(wanted)}
    placed = torch.tensor([order[int(label)] for label in samples.labels.cpu()], device=samples.labels.device)
    grid = class_grid(Samples(samples.images, placed, samples.age), len(wanted), columns)
    write_atomically(out, picture(grid))
    return {"model": name, "source": source, "n": len(samples.images), "out": str(out), "classes": rows}


def _from_buffer(model: Any, wanted: tuple[int, ...], columns: int) -> Samples:
    """The longest-lived chains of each class."""
    import torch

    from bench.evaluate.samples import generated
    from bench.family import Samples

    try:
        stored = generated(model, "buffer", 10**9, seed=0, steps=None, num_classes=model.num_classes)
    except ValueError as error:
        raise RequestError(str(error)) from error
    chosen = []
    for label in wanted:
        members = (stored.labels == label).nonzero().squeeze(1)
        oldest = torch.argsort(stored.age[members], descending=True, stable=True)[:columns]
        chosen.append(members[oldest])
    index = torch.cat(chosen)
    return Samples(stored.images[index], stored.labels[index], stored.age[index])
