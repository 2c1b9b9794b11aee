"""Imports foreign weights and exports our own. Needs torch."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import BenchError, PrerequisiteError, RequestError, did_you_mean, first_line
from bench.family import Imported, Model
from bench.files.atomic import write_atomically, write_json
from bench.files.tensors import load_tensors, save_tensors
from bench.registry import import_object
from bench.spec import BACKBONES, FAMILIES, FamilySpec
from bench.weights.find import MODEL, STATE, WEIGHTS, Blueprint
from bench.weights.load import build
from bench.weights.state_dicts import misfit, plain, renamed
from bench.weights.torch_files import read_inert
from bench.weights.unpickle import shown

__all__ = [
    "MOST_CLASSES",
    "MOST_PARAMETERS",
    "MOST_PIXELS",
    "ImportReport",
    "check_target",
    "export_model",
    "import_model",
]

STATE_DICT = "state-dict"
"""The format that every family reads: a plain state dict with our names."""
MOST_CLASSES = 100_000
MOST_PIXELS = 2**24
"""Largest number of values of an image, channels x height x width."""
MOST_PARAMETERS = 2_000_000_000
"""Largest number of parameters of a backbone, which is built before the file is compared with it."""
MOST_IGNORED = 1000
"""Largest number of ignored tensors that the record of an import names."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class ImportReport:
    """The result of an import.

    Attributes:
        folder: Folder of the imported model.
        weights: SHA-256 of the weights.
        tensors: Number of imported tensors.
        buffer: Number of imported images of the replay buffer.
        ignored: Names of tensors that were not imported, with the reason.
        stubbed: Names of classes in the file that were replaced by stubs.
        notes: Notes for the user.
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
    """Read foreign weights, check them against the model that they should fit, and store them for suites.

    Args:
        path: The file: ``.safetensors``, or a torch file with any other ending.
        format_: ``"state-dict"``, or a format that the family declares.
        family: Registered family.
        backbone: Registered backbone.
        name: Their name in suites: ``weights = "NAME"``. Letters, digits, '.', '_' and '-', 100 at most.
        num_classes: K, at most ``MOST_CLASSES``.
        image_shape: (C, H, W), at most ``MOST_PIXELS`` values.
        weights_root: The weights folder of the settings.

    Raises:
        RequestError: A name or format is unknown, sizes are beyond the limits, the file is missing or of another
            format, tensors are missing or have other shapes, or the name is already in use.
        DamagedFileError: The file cannot be read, or is a damaged ``.safetensors`` file.
        PrerequisiteError: The weights folder cannot be written.
    """
    folder = weights_root / _checked_name(name)
    with _writing(folder):
        if (folder / MODEL).exists():
            raise RequestError(
                f"there is an imported model {name!r} already, in {folder}; choose another name or delete it"
            )
    spec, backbone_spec = FAMILIES.get(family), BACKBONES.get(backbone)
    formats = [STATE_DICT, *spec.importers]
    if format_ not in formats:
        raise RequestError(f"{family} does not read format {format_!r}; {did_you_mean(format_, formats)}")
    _check_sizes(spec, backbone, num_classes, image_shape)
    content, stubbed = _content(path)
    model = _model(spec, backbone, num_classes, image_shape)
    read = _tensors(content, format_, spec, model, num_classes, path)
    if stubbed and format_ == STATE_DICT:
        read = replace(read, notes=(*read.notes, "the file holds more than tensors"))
    # A foreign file need not contain buffers that a model computes from its configuration, such as centers.
    buffers = {key: value for key, value in model.named_buffers() if key not in read.weights and "running" not in key}
    weights = {**buffers, **read.weights}
    problem = misfit(weights, model.state_dict())
    problem = problem or _misfit_buffer(read.state, image_shape)
    if problem is not None:
        raise RequestError(f"{shown(path)} does not fit the model: {problem}")
    facts: dict[str, Any] = {
        "family": family,
        "backbone": backbone_spec.name,
        "num_classes": num_classes,
        "image_shape": list(image_shape),
        "source": shown(path),
        "format": format_,
        "ignored": dict(list(read.ignored.items())[:MOST_IGNORED]),
        "stubbed": list(stubbed),
        "notes": [*read.notes, *_strange_numbers({**read.weights, **_images(read.state)})],
        "facts": dict(read.facts),
    }
    with _writing(folder):
        facts["weights"] = save_tensors(folder / WEIGHTS, weights)
        if read.state:
            facts["state"] = save_tensors(folder / STATE, read.state)
            found = (folder / STATE).stat()
            facts["state_stat"] = [found.st_size, found.st_mtime_ns]
        else:
            (folder / STATE).unlink(missing_ok=True)
        write_json(folder / MODEL, facts)  # last, because the model exists only with this file
    images = len(read.state.get("images", ()))
    return ImportReport(
        folder, facts["weights"], len(read.weights), images, facts["ignored"], stubbed, tuple(facts["notes"])
    )


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise RequestError(f"name '{shown(name)}': expected letters, digits, '.', '_' and '-', 100 at most")
    if name.endswith(".safetensors"):
        raise RequestError(f"name {name!r}: a suite takes what ends in .safetensors for a file; leave the ending out")
    return name


def _check_sizes(spec: FamilySpec, backbone: str, num_classes: int, image_shape: tuple[int, int, int]) -> None:
    """Check the size of the model against the limits, before it is built.

    Raises:
        RequestError: The model is too large, or the family has no weights to import.
    """
    if not spec.needs_backbone:
        raise RequestError(f"{spec.name} has no weights of its own to import: a suite gives it a state_dict")
    if not 1 <= num_classes <= MOST_CLASSES:
        raise RequestError(f"{num_classes} classes: expected 1 to {MOST_CLASSES:,}")
    values = image_shape[0] * image_shape[1] * image_shape[2]
    if min(image_shape) < 1 or values > MOST_PIXELS:
        raise RequestError(f"images of shape {image_shape}: expected positive sizes and {MOST_PIXELS:,} values at most")
    with _built(spec, backbone, num_classes, image_shape):
        parameters = BACKBONES.get(backbone).describe(backbone, image_shape).get("parameters", 0)
    if parameters > MOST_PARAMETERS:
        raise RequestError(f"{backbone} has {parameters:,.0f} parameters; the limit is {MOST_PARAMETERS:,}")


def _model(spec: FamilySpec, backbone: str, num_classes: int, image_shape: tuple[int, int, int]) -> Model:
    """The model that the weights should fit.

    Raises:
        RequestError: It cannot be built.
    """
    with _built(spec, backbone, num_classes, image_shape):
        config = spec.config().model_dump(mode="json")
        return build(Blueprint(family=spec.name, backbone=backbone, config=config), num_classes, image_shape, "cpu")[1]


@contextlib.contextmanager
def _built(spec: FamilySpec, backbone: str, num_classes: int, image_shape: tuple[int, int, int]) -> Iterator[None]:
    """Turn errors of a family or backbone over unsuitable sizes into RequestError."""
    try:
        yield
    except BenchError:
        raise
    except Exception as error:
        what = f"{spec.name} on {backbone} with {num_classes} classes, images {image_shape}"
        raise RequestError(f"{what}: {first_line(error, None)}") from error


def _content(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The content of the file, and the names of the globals that were stubbed."""
    if path.suffix.lower() != ".safetensors":
        return read_inert(path)
    with contextlib.suppress(OSError):
        if not path.is_file():
            raise RequestError(f"{shown(path)}: {'is not a file' if path.exists() else 'no such file'}")
    return load_tensors(path)[0], ()


def _tensors(content: Any, format_: str, spec: FamilySpec, model: Model, num_classes: int, path: Path) -> Imported:
    """The tensors of the file by our names.

    Raises:
        RequestError: The file is not of the format.
    """
    own = model.state_dict()
    try:
        if format_ == STATE_DICT:
            found, under = plain(content)
            weights, prefixes = renamed(found, own)
            return Imported(weights, notes=(*under, *prefixes))
        reader: Any = import_object(spec.importers[format_])
        dim = int(getattr(model, "backbone").feature_dim)  # noqa: B009 - families name it so
        read = reader(content, dim, num_classes)
        strange = [shown(key) for key, value in read.weights.items() if not isinstance(value, Tensor)]
        if strange:
            raise ValueError(f"not tensors: {', '.join(strange[:8])}")
        ignored = {shown(key): shown(reason) for key, reason in read.ignored.items()}
        return Imported(dict(read.weights), read.state, ignored, tuple(read.notes), getattr(read, "facts", {}))
    except ValueError as error:
        raise RequestError(f"{shown(path)}{'' if format_ == STATE_DICT else ':'} {error}") from error
    # A plug-in's reader may raise anything over a file that it does not expect.
    except Exception as error:
        reason = f"{type(error).__name__}: {shown(error)}"
        raise RequestError(f"{shown(path)}: the reader of format {format_!r} fails on it: {reason}") from error


def _images(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The images of a replay buffer, by their name in notes."""
    found = state.get("images")
    return {} if found is None else {"the replay buffer": found}


def _misfit_buffer(state: Mapping[str, Tensor], image_shape: tuple[int, int, int]) -> str | None:
    """Why a replay buffer does not fit the model's images, or None."""
    for images in _images(state).values():
        if tuple(images.shape[1:]) != tuple(image_shape):
            found, expected = ("x".join(map(str, shape)) for shape in (images.shape[1:], image_shape))
            return f"its replay buffer has images of {found}, the model takes {expected}"
    return None


def _strange_numbers(weights: Mapping[str, Tensor]) -> Iterator[str]:
    """A note on tensors with NaN or infinity, which are imported unchanged."""
    names = [name for name, tensor in weights.items() if not bool(torch.isfinite(tensor).all())]
    if names:
        yield f"not all numbers are finite in {', '.join(names[:8])}" + (", …" if len(names) > 8 else "")


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn errors of writing a file into PrerequisiteError."""
    try:
        yield
    except OSError as error:
        raise PrerequisiteError(f"{shown(path)} cannot be written: {error.strerror or error}") from error


def export_model(model: Model, path: Path) -> None:
    """Write the weights of a model: as safetensors, or as a plain state dict if the name ends in ``.pt`` or ``.pth``.

    Raises:
        RequestError: The name has another ending, or is that of a folder.
        PrerequisiteError: The file cannot be written.
    """
    check_target(path)
    with _writing(path):
        if path.suffix == ".safetensors":
            save_tensors(path, model.state_dict())
        else:
            content = io.BytesIO()
            torch.save({name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}, content)
            write_atomically(path, content.getvalue())


def check_target(path: Path) -> None:
    """Check the target of an export before a model is loaded.

    Raises:
        RequestError: The name has another ending than those of ``export_model``, or is that of a folder.
    """
    if path.suffix not in (".safetensors", ".pt", ".pth"):
        raise RequestError(f"{shown(path)}: the name must end in .safetensors or .pt, which says the format")
    if os.path.isdir(path):  # noqa: PTH112 - returns False if a name is too long, instead of raising
        raise RequestError(f"{shown(path)} is a folder; name a file in it")
