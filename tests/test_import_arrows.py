"""Who may import whom (docs/architecture.md, "Arrows of import"). Read from the source, so that imports inside of
functions count too; what is imported for type checkers alone does not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# A folder or module of bench, and the others that it may import; nothing imports against an arrow. Whoever adds a
# module gives it a line: what it may know is a decision.
ARROWS: dict[str, set[str]] = {
    # Foundations: names, keys, files.
    "errors": set(),
    "plain": set(),
    "keys": set(),
    "seeding": {"keys"},
    "source_scan": {"keys"},
    "sources": {"source_scan"},
    "declared": set(),
    "atomic": set(),
    "arrays": {"atomic", "errors"},
    "checksums": {"errors"},
    "store": {"atomic", "errors", "keys"},
    "registry": {"errors"},
    "spec": {"registry", "external", "spec_contract"},
    "spec_contract": {"declared", "spec"},
    "family": {"spec"},
    "family_contract": {"errors", "family"},
    "tensors": {"atomic", "errors", "keys"},
    "unpickle": set(),
    "inert": {"errors", "unpickle"},
    "state_dicts": {"unpickle"},
    "imported": {"errors", "keys", "tensors"},
    "locating": {"errors", "tensors"},
    "external": {"keys", "locating", "sources", "spec"},
    "external_module": {"errors", "external", "family", "inert", "registry", "state_dicts", "tensors"},
    # Pure functions.
    "metrics": set(),
    "scores": set(),
    "attacks": {"arrays", "errors", "metrics", "seeding"},
    # Work: {train, predict} -> data; evaluate -> {metrics, scores, attacks}.
    "data": {"arrays", "checksums", "declared", "errors", "keys", "registry", "seeding"},
    "trained": {
        *("data", "errors", "family", "family_contract", "keys", "registry", "seeding", "spec", "state_dicts"),
        *("store", "tensors"),
    },
    "train": {
        *("data", "family", "family_contract", "keys", "seeding", "spec", "state_dicts", "store", "tensors"),
    },
    "predict": {"data", "family", "family_contract"},
    "evaluate": {
        *("metrics", "scores", "attacks"),
        *("arrays", "checksums", "data", "declared", "errors", "family", "registry", "spec", "store", "trained"),
    },
    # From a suite to jobs, from jobs to results, from results to tables.
    "suite": {"data", "declared", "errors", "evaluate", "external", "registry", "sources", "spec", "spec_contract"},
    "jobs": {"errors", "suite"},
    "planner": {"data", "evaluate", "imported", "jobs", "keys", "sources", "spec", "suite"},
    "prerequisites": {"atomic", "checksums", "data", "errors", "evaluate", "jobs"},
    "execute": {
        *("train", "predict", "evaluate", "data", "trained"),
        *("arrays", "errors", "jobs", "keys", "plain", "seeding", "sources", "spec", "store", "tensors"),
    },
    "report": {"arrays", "attacks", "errors", "execute", "jobs", "metrics", "plain", "spec", "store", "suite"},
    # What people call.
    "remembered": {"errors", "jobs", "report", "store"},
    "api": {
        *("data", "errors", "execute", "jobs", "planner", "prerequisites", "remembered", "report", "store", "suite"),
        "trained",
    },
    "importing": {
        *("imported", "inert", "registry", "spec", "state_dicts", "store", "tensors", "trained", "unpickle"),
        "errors",
    },
    "sampling": {"errors", "evaluate", "family", "keys", "seeding", "store"},
    "verifying": {"arrays", "attacks", "data", "errors", "keys", "seeding", "trained"},
    "catalogue": {"attacks", "data", "errors", "evaluate", "registry", "spec", "suite"},
    "housekeeping": {
        *("checksums", "data", "errors", "evaluate", "execute", "prerequisites", "remembered", "store", "suite"),
        "train",
    },
    "cli": {
        *("api", "catalogue", "housekeeping", "importing", "sampling", "verifying"),
        *("errors", "execute", "plain", "report", "store", "unpickle"),
    },
    "__init__": {"api"},
    "__main__": {"cli"},
}

# Where an arrow is for few modules only.
ONLY: dict[tuple[str, str], set[str]] = {
    ("report", "execute"): {"bench.execute.states"},  # how a job stands, to say why a cell is empty
    ("housekeeping", "train"): {"bench.train.files"},  # which files belong to checkpoints
    ("cli", "execute"): {"bench.execute.devices", "bench.execute.displays", "bench.execute.estimate"},
    ("report", "attacks"): {"bench.attacks.diagnostics", "bench.attacks.threat"},  # verdicts that need several jobs
    ("suite", "evaluate"): {"bench.evaluate.base", "bench.evaluate.declared"},
    ("planner", "evaluate"): {"bench.evaluate.base"},
    ("suite", "data"): {"bench.data.registry", "bench.data.spec"},
    ("planner", "data"): {"bench.data.declared", "bench.data.registry", "bench.data.spec"},
    ("evaluate", "data"): {"bench.data.job", "bench.data.splits", "bench.data.spec"},
}


def sources(package: str, folder: Path) -> dict[str, Path]:
    """Module names and their files."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [package, *path.relative_to(folder).with_suffix("").parts]
        found[".".join(parts)] = path
    return found


BENCH, MODELS = sources("bench", ROOT / "bench"), sources("bench_models", ROOT / "models")


def unguarded(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes except those below ``if TYPE_CHECKING``."""
    yield node
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from unguarded(child)


@cache
def imports(module: str, path: Path) -> frozenset[str]:
    """Absolute names of the modules that a module imports; of ``from package import x``, ``package.x`` if it is one."""
    found = set()
    for node in unguarded(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([node.module] if node.module else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            modules = {name for name in names if name in BENCH or f"{name}.__init__" in BENCH}
            found |= modules or {base}
    return frozenset(found)


def group(module: str) -> str:
    """The folder or module of bench that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def within_bench(module: str) -> set[str]:
    """What a module of bench imports from other folders of bench."""
    names = {name for name in imports(module, BENCH[module]) if name.split(".")[0] == "bench"}
    return {name for name in names if group(name) != group(module)}


def test_the_reader_of_imports_sees_them() -> None:
    code = "import a.b\nfrom .c import d\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import e\n"
    path = ROOT / "tests" / "never-written.py"

    class Text(type(path)):  # type: ignore[misc]
        def read_text(self, *_: object, **__: object) -> str:
            return code + "def f():\n    import g\n    from bench import store\n"

    assert imports("x.y.z", Text(path)) == {"a.b", "x.y.c", "typing", "g", "bench.store"}
    assert "bench.train.loop" in within_bench("bench.execute.worker")  # imported inside a function
    assert "bench.api" not in imports("bench.catalogue", BENCH["bench.catalogue"])  # for type checkers alone


def test_every_module_has_its_arrows() -> None:
    assert {group(module) for module in BENCH} == set(ARROWS)


@pytest.mark.parametrize("folder", sorted(ARROWS))
def test_imports_follow_the_arrows(folder: str) -> None:
    against = {}
    for module in BENCH:
        if group(module) != folder:
            continue
        wrong = {name for name in within_bench(module) if group(name) not in ARROWS[folder]}
        for name in within_bench(module):
            allowed = ONLY.get((folder, group(name)))
            if allowed is not None and name not in allowed:
                wrong.add(name)
        if wrong:
            against[module] = sorted(wrong)
    assert against == {}


def test_the_arrows_have_no_cycle() -> None:
    """But two: ``spec`` lists the family that ``external`` describes, and has descriptions looked at by
    ``spec_contract``; it imports them only when asked.
    """
    left = {name: set(targets) for name, targets in ARROWS.items()}
    left["spec"] -= {"external", "spec_contract"}
    while left:
        free = {name for name, targets in left.items() if not targets & left.keys()}
        assert free, f"a cycle among {sorted(left)}"
        for name in free:
            del left[name]


def test_no_arrow_is_idle() -> None:
    """An arrow that nothing follows is a permission that nobody decided to give."""
    used: dict[str, set[str]] = {name: set() for name in ARROWS}
    for module in BENCH:
        used[group(module)] |= {group(name) for name in within_bench(module)}
    assert {name: ARROWS[name] - targets for name, targets in used.items() if ARROWS[name] - targets} == {}


def test_bench_knows_no_model() -> None:
    for module, path in BENCH.items():
        names = {name for name in imports(module, path) if name.split(".")[0] in {"bench_models", "models"}}
        assert names == set(), module
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not {text for text in texts if text.startswith("bench_models")}, module


def test_models_know_their_contract_alone() -> None:
    for module, path in MODELS.items():
        for name in imports(module, path):
            top = name.split(".")[0]
            ours = top == "bench_models" or name in {"bench.family", "bench.spec"}
            assert ours or top in {"torch", "pydantic", *sys.stdlib_module_names}, f"{module} imports {name}"


@pytest.mark.parametrize("folder", ["metrics", "scores"])
def test_pure_functions_know_no_torch(folder: str) -> None:
    for module, path in BENCH.items():
        if group(module) == folder:
            tops = {name.split(".")[0] for name in imports(module, path)}
            assert tops <= {"bench", "numpy", "scipy", "sklearn", *sys.stdlib_module_names}, module


@pytest.mark.parametrize("folder", ["metrics", "scores", "attacks"])
def test_what_is_pure_reads_neither_store_nor_suite_nor_model(folder: str) -> None:
    reached: set[str] = set()
    todo = {folder}
    while todo:
        name = todo.pop()
        reached.add(name)
        todo |= {group(x) for module in BENCH if group(module) == name for x in within_bench(module)} - reached
    assert not reached & {"store", "suite", "family", "trained", "planner", "api"}
