"""Which source files determine the numbers of each versioned component, and their digests.

A version is raised by hand, so that an edit that changes no number keeps every stored result. The price is that one
can forget it: tests/test_versions.py compares the sources with the digests committed in tests/versions.json.

    python tests/refresh_versions.py

writes them anew: after a version was raised, or after an edit that changes no number.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.data.registry import DATASETS
from bench.evaluate import judge
from bench.evaluate.base import EVALUATIONS
from bench.keys import digest, source_digest
from bench.plan import tasks
from bench.plugins.source_scan import imports_of
from bench.plugins.sources import SEEDING_VERSION
from bench.registry import Registry
from bench.spec import BACKBONES, FAMILIES

__all__ = ["COMMITTED", "components", "differences", "python"]

ROOT = Path(__file__).resolve().parents[1]
COMMITTED = ROOT / "tests" / "versions.json"

_DESCRIPTIONS = (
    # Names, defaults and schemas: the resolved values are in the keys themselves.
    *("bench_models.specs", "bench_models.configs", "bench_models.igebm_spec"),
    *("bench.data.catalogue", "bench.data.registry"),
    *("bench.evaluate.base", "bench.evaluate.catalogue", "bench.evaluate.judge"),
)


def python() -> str:
    """The Python whose parser made the digests: another one may write the same tree in other words."""
    return ".".join(platform.python_version_tuple()[:2])


def components() -> dict[str, dict[str, Any]]:
    """By component its version, the files that determine its numbers with their digests, and the digest of all."""
    found: dict[str, dict[str, Any]] = {}

    def add(name: str, version: int | None, roots: Iterable[str], within: tuple[str, ...]) -> None:
        if version is not None:  # without one the digest of the source is in the key itself
            files = {str(path.relative_to(ROOT)): source_digest(path) for path in _closure(roots, within)}
            found[name] = {"version": version, "files": files, "digest": digest(files)[:16]}

    add(
        "training loop",
        tasks.TRAIN_VERSION,
        ["bench.train.loop", "bench.weights.load", "bench.data.job"],
        (
            "bench.train",
            "bench.weights.load",
            "bench.data",
            "bench.family",
            "bench.keys",
            "bench.rng",
            "bench.files.tensors",
        ),
    )
    add("prediction pass", tasks.PREDICT_VERSION, ["bench.predict.outputs"], ("bench.predict",))
    add("global generators", SEEDING_VERSION, ["bench.rng"], ("bench.rng", "bench.keys"))
    for family in [*_ours(FAMILIES), judge.FAMILY]:
        module = family.implementation.partition(":")[0]
        add(f"family {family.name}", family.version, [module], (module, "bench_models", "bench.family"))
    for backbone in [*_ours(BACKBONES), judge.BACKBONE]:
        module = backbone.implementation.partition(":")[0]
        add(f"backbone {backbone.name}", backbone.version, [module], (module, "bench_models"))
    for dataset in _ours(DATASETS):
        module = dataset.implementation.partition(":")[0]
        add(f"data set {dataset.name}", dataset.version, [module], ("bench.data",))
    for evaluation in _ours(EVALUATIONS):
        within = ("bench.evaluate", "bench.metrics", "bench.scores", "bench.attacks")
        add(f"evaluation {evaluation.name}", evaluation.version, [type(evaluation).__module__], within)
    return found


def differences(committed: dict[str, dict[str, Any]], current: dict[str, dict[str, Any]]) -> list[str]:
    """What a person has to do about each component whose sources are not those that were committed."""
    refresh = "run: python tests/refresh_versions.py"
    messages = []
    for name in sorted(committed.keys() | current.keys()):
        old, new = committed.get(name), current.get(name)
        if old == new:
            continue
        if old is None or new is None:
            messages.append(f"{name}: {'new' if old is None else 'gone'}; {refresh}")
            continue
        files = sorted(
            f for f in old["files"].keys() | new["files"].keys() if old["files"].get(f) != new["files"].get(f)
        )
        if old["version"] != new["version"]:
            messages.append(f"{name}: version {old['version']} is now {new['version']}; {refresh}")
        else:
            messages.append(
                f"{name}: {', '.join(files)} changed and version {old['version']} did not. If a number can change, "
                f"raise the version, then {refresh}. If none can, {refresh}"
            )
    return messages


def _ours(registry: Registry[Any]) -> list[Any]:
    return [entry.value for entry in registry.entries() if entry.value and entry.origin in ("bench", "gmmc-bench")]


def _closure(roots: Iterable[str], within: tuple[str, ...]) -> list[Path]:
    """The files of ``roots`` and of all that they import, directly or not, inside the packages ``within``."""
    files: dict[str, Path] = {}
    todo = list(roots)
    while todo:
        module = todo.pop()
        if module in files or module in _DESCRIPTIONS or not module.startswith(within):
            continue
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            continue
        files[module] = Path(spec.origin).resolve()
        tree = ast.parse(files[module].read_text(encoding="utf-8"))
        imported = imports_of(tree, module, package=spec.submodule_search_locations is not None)
        todo += [found.name for found in imported if _is_module(found.name)]
    return sorted(set(files.values()))


def _is_module(name: str) -> bool:
    if not name.startswith(("bench.", "bench_models.")):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def main() -> None:
    """Write the file and say what changed."""
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))["components"] if COMMITTED.exists() else {}
    current = components()
    for message in differences(committed, current):
        print(message.partition("; run")[0].partition(" and version")[0])
    content = {"python": python(), "components": current}
    COMMITTED.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
