"""Anyone's samples as a model: ``family = "samples"``. Light; files are read in ``bench.weights.samples_family``.

The way for generators that run elsewhere, such as GANs and diffusion models: their images are measured as the samples
of our families are. They neither classify nor have a density.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt

from bench.keys import file_digest
from bench.plugins.locating import missing_object
from bench.plugins.sources import source_facts
from bench.spec import FamilySpec, UnlabelledConfig

__all__ = ["SAMPLES", "SamplesConfig", "image_files"]

SUFFIXES = (".png", ".jpg", ".jpeg")


class SamplesConfig(UnlabelledConfig):
    """``[[model]] family = "samples"``: nothing is trained; training settings have no effect."""

    path: str | None = Field(
        None,
        description="Folder of PNG or JPEG images, at any depth, or an .npz archive with the array images (or arr_0) "
        "and perhaps labels (or arr_1); relative to the suite. Images are uint8, or floating point in [0, 1], in the "
        "size of the data set",
    )
    callable: str | None = Field(
        None,
        description="'package.module:function': called with (count, seed), returns such images as an array or a "
        "tensor, or a pair of images and labels",
    )
    count: PositiveInt = Field(10_000, description="Images that the callable is asked for")
    epochs: PositiveInt = Field(1, description="No effect")


def image_files(folder: Path) -> list[Path]:
    """The images below a folder, sorted by relative name; names that begin with a dot are left out."""
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _identity(config: Any) -> Mapping[str, Any]:
    """The content of the files, or the source of the callable and its imports, so that an edit changes the key."""
    if config.callable is not None:
        return dict(source_facts(config.callable))
    path = Path(config.path)
    if path.is_file():
        return {"path": file_digest(path)}
    digest = hashlib.sha256()
    for file in image_files(path):
        digest.update(os.fsencode(file.relative_to(path).as_posix()) + b"\0" + bytes.fromhex(file_digest(file)))
    return {"path": digest.hexdigest()}


def _problems(config: Any, _backbone: str) -> Iterator[tuple[str, str, str]]:
    if (config.path is None) == (config.callable is None):
        yield "path", "give either path or callable", ""
        return
    if config.callable is not None:
        found = missing_object(config.callable)
        if found is not None:
            yield ("callable", *found)
        return
    path = Path(config.path)
    if path.is_dir():
        if not image_files(path):
            yield "path", f"there is no image ({', '.join(SUFFIXES)}) below {path}", ""
    elif not path.exists():
        yield "path", f"there is no file or folder {path}", "relative paths start at the suite's folder"
    elif path.suffix.lower() != ".npz":
        yield "path", f"{path} is neither a folder nor an .npz archive", ""


SAMPLES = FamilySpec(
    name="samples",
    label="samples",
    summary="Images that a generator made elsewhere, from a folder, an .npz archive or a callable; not trained.",
    source="this project",
    config=SamplesConfig,
    implementation="bench.weights.samples_family:SamplesFamily",
    version=1,
    classifies=False,
    capabilities=frozenset({"samples"}),
    passes=lambda config: 0.0,  # noqa: ARG005 - the signature of the contract
    identity=_identity,
    paths=("path",),
    problems=_problems,
    needs_backbone=False,
)
