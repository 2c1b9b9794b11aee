"""Models and their weight files: building a model, loading trained weights, and adopting foreign ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.data.splits import Splits
from bench.errors import BenchError, DamagedFileError
from bench.family import Batch, Classifier, Family, Model
from bench.files.tensors import load_tensors, save_tensors
from bench.keys import file_digest
from bench.plugins.family_contract import FamilyContractError, check_rows, checked_model, checked_state
from bench.registry import import_object
from bench.rng import derive_seed, seeded
from bench.spec import BACKBONES, FAMILIES
from bench.store import STATE, WEIGHTS, JobFolder, Training
from bench.weights.find import Blueprint, Found
from bench.weights.state_dicts import misfit

__all__ = ["adopt", "build", "load", "start_from"]

BATCH = 256


def build(
    blueprint: Blueprint, num_classes: int, image_shape: tuple[int, int, int], device: str
) -> tuple[Family[Any], Model]:
    """A freshly initialised model.

    Args:
        blueprint: Specification of the model.
        num_classes: K.
        image_shape: (C, H, W).
        device: Torch device of the model.

    Raises:
        FamilyContractError: The implementation is no family, or builds no model of these classes and images.
    """
    family_spec = FAMILIES.get(blueprint.family)
    config = family_spec.config.read(blueprint.config)
    implementation = import_object(family_spec.implementation)
    if not (isinstance(implementation, type) and issubclass(implementation, Family)):
        raise FamilyContractError(f"{family_spec.implementation} is no subclass of bench.family.Family")
    family: Family[Any] = implementation(config)
    backbone_spec = BACKBONES.get(blueprint.backbone)
    make_backbone: Any = import_object(backbone_spec.implementation)
    with seeded(derive_seed(blueprint.seed, "initial weights")):
        backbone: nn.Module = make_backbone(backbone_spec.name, image_shape[0])
        built = family.build(backbone, num_classes, image_shape)
    model = checked_model(built, num_classes, image_shape, implementation.__name__, classifies=family_spec.classifies)
    # Convolutions are faster this way: most of our gain over the original code (benchmarks/README.md).
    moved = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert isinstance(moved, Model)
    return family, moved


def load(
    folder: JobFolder,
    blueprint: Blueprint,
    num_classes: int,
    image_shape: tuple[int, int, int],
    device: str,
    *,
    with_state: bool = False,
) -> tuple[Model, str]:
    """A trained model in eval mode and the digest of its weights.

    Args:
        folder: Folder of the train job.
        blueprint: Specification of the model.
        num_classes: K.
        image_shape: (C, H, W).
        device: Torch device of the model.
        with_state: Attach the state of the sampler, for ``stored_samples``.

    Raises:
        DamagedFileError: A file is missing or does not have the recorded digest.
    """
    family, model = build(blueprint, num_classes, image_shape, device)
    recorded = folder.artefacts()
    if WEIGHTS not in recorded:
        raise DamagedFileError(folder.file(WEIGHTS), "belongs to no finished training")
    weights, _ = load_tensors(folder.file(WEIGHTS), sha256=recorded[WEIGHTS])
    model.load_state_dict(weights)
    if with_state and STATE in recorded:
        state, _ = load_tensors(folder.file(STATE), sha256=recorded[STATE])
        family.attach(model, {name: tensor.to(device) for name, tensor in state.items()})
    model.eval()
    return model, recorded[WEIGHTS]


def adopt(
    found: Found | None, family: Family[Any], model: Model, splits: Splits, folder: JobFolder, *, seed: int
) -> tuple[str, Training]:
    """Adopt a model with imported weights, or with weights from its own code, in place of training.

    Args:
        found: Weights that were made elsewhere; None if the model's code brings its own.
        family: Family of the model.
        model: The freshly built model; it receives the weights.
        splits: The data.
        folder: Folder of the train job; the weights are saved there.
        seed: Training seed.

    Returns:
        The SHA-256 of the weights, and their part of the record of training.

    Raises:
        BenchError: The weights have changed since the job was planned, or do not fit the model.
    """
    if found is not None:
        digest = file_digest(found.weights)
        if digest != found.digest:
            raise BenchError(f"{found.weights} has changed since the suite was read; start again with the new content")
        start_from(model, found.weights, sha256=digest)
        if found.state is not None:
            state, _ = load_tensors(found.state, sha256=found.state_digest)
            save_tensors(folder.file(STATE), state)
    else:
        _save_first_state(family, model, folder, seed)
    model.eval()
    images, labels = splits.train.unit_images(), splits.train.labels
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def clean() -> Iterator[Batch]:
        for i in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[i : i + BATCH]).to(device)
            yield Batch(batch, torch.from_numpy(labels[i : i + BATCH]).to(device))

    first = torch.from_numpy(images[:2]).to(device)
    if isinstance(model, Classifier):
        with torch.no_grad():
            check_rows(model.logits(first), f"{type(model).__name__}.logits", len(first), model.num_classes)
    before = {name: tensor.to("meta") for name, tensor in model.state_dict().items()}
    with seeded(derive_seed(seed, "after training")):
        family.after_training(model, clean)
    problem = misfit(model.state_dict(), before)
    if problem is not None:
        who = type(family).__name__
        raise FamilyContractError(f"{who}.after_training left another model than it was given: {problem}")
    facts = Training(
        adopted=True if found is None else str(found.weights),
        imported=(found.facts or None) if found is not None else None,
        notes=list(family.notes) or None,
    )
    return save_tensors(folder.file(WEIGHTS), model.state_dict()), facts


def _save_first_state(family: Family[Any], model: Model, folder: JobFolder, seed: int) -> None:
    """Save the state of a model that needs no training, if it has one."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "state"))
    with seeded(derive_seed(seed, "state", "global")):
        state = checked_state(family.start(model, generator), type(family).__name__)
    if state is not None:
        save_tensors(folder.file(STATE), state.state_dict())


def start_from(model: Model, path: Path, *, sha256: str | None = None) -> str:
    """Load weights into a freshly built model and return their digest; every tensor must be there and fit.

    Args:
        model: The model that receives the weights.
        path: A safetensors file.
        sha256: Expected digest of the file, if it is known.

    Raises:
        BenchError: Tensors are missing, unknown, or of another shape or kind of number; the message names them.
        DamagedFileError: The file is missing or damaged, or has another digest.
    """
    weights, _ = load_tensors(path, sha256=sha256)
    problem = misfit(weights, model.state_dict())
    if problem is not None:
        raise BenchError(f"{path} does not fit the model: {problem}")
    model.load_state_dict(weights)
    try:
        model.check_loaded()
    except ValueError as error:
        raise BenchError(f"{path} does not fit the model: {error}") from error
    return file_digest(path)
