"""Figures that an earlier run left in a folder: read again while their inputs are the same, drawn otherwise.

``figures.json`` beside the files has a digest of the inputs of each figure: its options, the results of its models, the
code that draws, and the versions of the libraries that it uses. A file that was edited or deleted is drawn again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.files.atomic import write_json
from bench.report.cells import Results
from bench.report.figures import figures_of
from bench.report.model import Figure
from bench.store.folder import RECORD
from bench.suite.schema import ResolvedFigure

__all__ = ["KEPT", "figures_in", "keep"]

KEPT = "figures.json"
"""The file with the digests of the inputs, beside the figures."""
_CODE = ("report", "metrics", "suite")
_LIBRARIES = ("matplotlib", "numpy", "scikit-learn", "scipy")


@dataclass(frozen=True)
class _Drawn:
    """A figure from its files."""

    title: str
    caption: str
    png: bytes
    pdf: bytes


def figures_in(
    folder: Path, figures: Sequence[ResolvedFigure], results: Results
) -> tuple[dict[str, Figure | str], dict[str, str]]:
    """By id, each figure or the reason why it cannot be drawn; and the digest of the inputs of each.

    Args:
        folder: The folder with the files of an earlier run, if there are any.
        figures: Figures of the suite.
        results: The results in the store.
    """
    known = _known(folder)
    found: dict[str, Figure | str] = {}
    inputs: dict[str, str] = {}
    for figure in figures:
        inputs[figure.id] = _inputs(figure, results)
        kept = _read(folder, figure.id, known.get(figure.id), inputs[figure.id])
        found[figure.id] = figures_of([figure], results)[figure.id] if kept is None else kept
    return found, inputs


def keep(folder: Path, figures: Mapping[str, Figure | str], inputs: Mapping[str, str]) -> None:
    """Write down from which inputs the files of figures in a folder were drawn.

    Args:
        folder: The folder, which has the files.
        figures: By id, the figures as they were written. Those without a file are forgotten.
        inputs: The digests of `figures_in`.
    """
    entries = {name: entry for name, entry in _known(folder).items() if name not in figures}
    for name, figure in figures.items():
        if name in inputs and not isinstance(figure, str):
            files = {kind: _sha256(getattr(figure, kind)) for kind in ("png", "pdf")}
            entries[name] = {
                "inputs": inputs[name],
                "title": figure.title,
                "caption": figure.caption,
                **files,
            }
    if entries or (folder / KEPT).exists():
        write_json(folder / KEPT, entries)


def _known(folder: Path) -> dict[str, Any]:
    """What the file says; nothing if there is none that can be read."""
    try:
        content = json.loads((folder / KEPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _read(folder: Path, name: str, entry: Any, inputs: str) -> _Drawn | None:
    if not isinstance(entry, dict) or entry.get("inputs") != inputs:
        return None
    try:
        png, pdf = ((folder / f"{name}.{kind}").read_bytes() for kind in ("png", "pdf"))
    except OSError:
        return None
    if [_sha256(png), _sha256(pdf)] != [entry.get("png"), entry.get("pdf")]:
        return None
    return _Drawn(str(entry.get("title")), str(entry.get("caption")), png, pdf)


def _inputs(figure: ResolvedFigure, results: Results) -> str:
    """A digest of everything that a figure depends on."""
    names = {model.name for model in figure.models}
    jobs = [
        [job.key, results.states[job.key].state, _sha256_of(results.store.folder(job.key).file(RECORD))]
        for job in results.plan.jobs
        if job.model in names
    ]
    facts = {
        "id": figure.id,
        "title": figure.title,
        "evaluation": figure.evaluation,
        "options": figure.entry.model_dump(mode="json"),
        "models": [[model.name, model.label] for model in figure.models],
        "jobs": jobs,
        "code": _code(),
    }
    return _sha256(json.dumps(facts, sort_keys=True).encode())


@cache
def _code() -> dict[str, str]:
    """Digests of the code that reads and draws, and the versions of the libraries that it calls."""
    root = Path(__file__).resolve().parents[1]
    files = sorted(file for folder in _CODE for file in (root / folder).rglob("*.py"))
    sources = {str(file.relative_to(root)): _sha256_of(file) for file in files}
    return {**sources, **{name: version(name) for name in _LIBRARIES}}


def _sha256_of(file: Path) -> str:
    try:
        return _sha256(file.read_bytes())
    except OSError:  # it is missing, or damaged
        return ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
