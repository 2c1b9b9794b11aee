"""Any ``nn.Module`` as a model: ``family = "module"``. Light; the wrapper is in ``bench.weights.module_family``.

A module from images in [0, 1] to logits is evaluated by the same rules as the families, without training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveInt

from bench.keys import file_digest
from bench.plugins.locating import missing_file, missing_object
from bench.plugins.sources import source_facts
from bench.spec import BackboneSpec, FamilySpec, TrainingConfig

__all__ = ["MODULE", "NO_BACKBONE", "ModuleConfig"]


class ModuleConfig(TrainingConfig):
    """``[[model]] family = "module"``: nothing is trained; training settings have no effect."""

    callable: str = Field(
        description="'package.module:function': called without arguments, returns an nn.Module from images in [0, 1], "
        "shape (N, C, H, W), to logits (N, K)"
    )
    state_dict: str | None = Field(
        None,
        description="File of a state dict to load into it, relative to the suite: .safetensors, or a torch file, of "
        "which nothing is executed",
    )
    epochs: PositiveInt = Field(1, description="No effect")


def _identity(config: Any) -> Mapping[str, Any]:
    """The source of the callable and its imports, and the content of the weights, so that an edit changes the key."""
    facts = dict(source_facts(config.callable))
    if config.state_dict is not None:
        path = Path(config.state_dict)
        facts["state_dict"] = file_digest(path) if path.is_file() else "missing"
    return facts


def _problems(config: Any, _backbone: str) -> Iterator[tuple[str, str, str]]:
    """Problems of the callable (missing, or its module cannot be imported) and of the weights (missing or damaged)."""
    found = missing_object(config.callable)
    if found is not None:
        yield ("callable", *found)
    if config.state_dict is not None:
        found = missing_file(Path(config.state_dict))
        if found is not None:
            yield ("state_dict", *found)


def _no_backbone(name: str) -> str:
    if name != "none":
        raise ValueError("the family 'module' has no backbone")
    return name


MODULE = FamilySpec(
    name="module",
    label="module",
    summary="Any nn.Module from [0, 1] images to logits, by 'module:callable' and optional weights; not trained.",
    source="this project",
    config=ModuleConfig,
    implementation="bench.weights.module_family:ModuleFamily",
    version=1,
    passes=lambda config: 0.0,  # noqa: ARG005 - the signature of the contract
    identity=_identity,
    paths=("state_dict",),
    problems=_problems,
    needs_backbone=False,
)

NO_BACKBONE = BackboneSpec(
    name="none",
    pattern="none",
    summary="No backbone of the harness, for models that bring their own.",
    source="this project",
    implementation="bench.weights.module_family:no_backbone",
    parse=_no_backbone,
    describe=lambda _name, _shape: {},
    version=1,
)
