"""Bringing in weights that others trained, and giving out our own. Needs torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.errors import BenchError, RequestError, did_you_mean
from bench.imported import MODEL, STATE, WEIGHTS
from bench.inert import read_inert
from bench.registry import import_object
from bench.spec import BACKBONES, FAMILIES
from bench.store import write_atomically, write_json
from bench.tensors import load_tensors, save_tensors
from bench.trained import build, start_from

if TYPE_CHECKING:
    from bench.family import Classifier

__all__ = ["ImportReport", "export_model", "import_model"]

STATE_DICT = "state-dict"
"""The format that every family reads: a plain state dict with our names."""


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        folder: Where the model now lies.
        weights: SHA-256 of the weights.
        tensors: How many tensors were taken.
        buffer: Images of the replay buffer that came along.
        ignored: Names of tensors that were not taken, with the reason.
        stubbed: Classes that the file wanted to build and that were replaced by stubs.
        notes: What a person should know.
    """

    folder: Path
    weights: str
    tensors: int
    buffer: int
    ignored: Mapping[str, str]
    stubbed: tuple[str, ...]
    notes: tuple[str, ...]


def import_model(
    path: Path,
    *,
    format_: str,
    family: str,
    backbone: str,
    name: str,
    num_classes: int,
    image_shape: tuple[int, int, int],
    weights_root: Path,
) -> ImportReport:
    """Read foreign weights, check them against the model that they claim to be, and keep them for suites.

    Args:
        path: The file.
        format_: ``"state-dict"``, or a format that the family declares.
        family: Registered family.
        backbone: Registered backbone.
        name: Under which suites find them: ``weights = "NAME"``.
        num_classes: K.
        image_shape: (C, H, W).
        weights_root: The weights folder of the settings.

    Raises:
        RequestError: An unknown name or format, a file that is not of the format, tensors that are missing or have
            other shapes, or a name already in use.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise RequestError(f"name {name!r}: expected letters, digits, '.', '_' and '-'")
    folder = weights_root / name
    if (folder / MODEL).exists():
        raise RequestError(
            f"there is an imported model {name!r} already, in {folder}; choose another name or delete it"
        )
    spec, backbone_spec = FAMILIES.get(family), BACKBONES.get(backbone)
    formats = [STATE_DICT, *spec.importers]
    if format_ not in formats:
        raise RequestError(f"{family} does not read format {format_!r}; {did_you_mean(format_, formats)}")
    job = {"family": family, "backbone": backbone, "config": spec.config().model_dump(mode="json"), "seed": 0}
    try:
        _, model = build(job, num_classes, image_shape, "cpu")
    except ValueError as error:
        raise RequestError(f"{family} on {backbone} with {num_classes} classes: {error}") from error
    content: Any
    stubbed: tuple[str, ...] = ()
    if path.suffix == ".safetensors":
        content = load_tensors(path)[0]
    else:
        content, stubbed = read_inert(path)
    state: Mapping[str, Tensor] = {}
    ignored: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    if format_ == STATE_DICT:
        if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
            raise RequestError(f"{path} does not hold a plain state dict of tensors")
        weights = {str(key).removeprefix("module."): value for key, value in content.items()}
    else:
        reader: Any = import_object(spec.importers[format_])
        dim = int(getattr(model, "backbone").feature_dim)  # noqa: B009 - families name it so
        try:
            read = reader(content, dim, num_classes)
        except ValueError as error:
            raise RequestError(f"{path}: {error}") from error
        weights, state, ignored, notes = dict(read.weights), read.state, read.ignored, read.notes
        strange = [key for key, value in weights.items() if not isinstance(value, Tensor)]
        if strange:
            raise RequestError(f"{path}: not tensors: {', '.join(strange)}")
    # What a model computes from its configuration, such as centers, need not be in a foreign file.
    buffers = {key: value for key, value in model.named_buffers() if key not in weights and "running" not in key}
    target = folder / WEIGHTS
    digest = save_tensors(target, {**buffers, **weights})
    try:
        start_from(model, target)
    except BenchError as error:
        target.unlink()
        folder.rmdir()
        raise RequestError(str(error).replace(str(target), str(path))) from error
    if state:
        save_tensors(folder / STATE, state)
    facts = {
        "family": family,
        "backbone": backbone_spec.name,
        "num_classes": num_classes,
        "image_shape": list(image_shape),
        "weights": digest,
        "source": str(path),
        "format": format_,
        "ignored": dict(ignored),
        "stubbed": list(stubbed),
    }
    write_json(folder / MODEL, facts)  # last: only with it does the model exist
    return ImportReport(
        folder, digest, len(weights), len(state.get("images", ())), ignored, tuple(stubbed), tuple(notes)
    )


def export_model(model: Classifier, path: Path) -> None:
    """Write the weights of a model: as safetensors, or as a plain state dict if the name ends in ``.pt``.

    Raises:
        RequestError: Another ending.
    """
    if path.suffix == ".safetensors":
        save_tensors(path, model.state_dict())
    elif path.suffix in (".pt", ".pth"):
        import io

        content = io.BytesIO()
        torch.save({name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}, content)
        write_atomically(path, content.getvalue())
    else:
        raise RequestError(f"{path}: the name must end in .safetensors or .pt, which says the format")
