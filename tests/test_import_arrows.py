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
    # Shared things.
    "errors": set(),
    "keys": set(),
    "plain": set(),
    "files": {"errors", "keys"},
    "registry": {"errors"},
    "rng": {"keys"},
    "family": {"rng", "spec"},
    "optimizer": set(),
    "precision": set(),
    "spec": {"keys", "optimizer", "registry"},
    "store": {"errors", "files", "keys", "metrics"},
    "plugins": {"attacks", "errors", "family", "files", "keys", "scores", "spec"},
    # Pure functions.
    "metrics": set(),
    "scores": {"registry"},
    "attacks": {"errors", "files", "metrics", "precision", "registry", "rng"},
    # Work: {train, predict} -> data; evaluate -> {metrics, scores, attacks}.
    "data": {"errors", "files", "keys", "plugins", "registry", "rng"},
    "weights": {"data", "errors", "family", "files", "keys", "plugins", "registry", "rng", "spec", "store"},
    "train": {"data", "family", "files", "keys", "optimizer", "plugins", "precision", "rng", "spec", "weights"},
    "predict": {"data", "family", "plugins"},
    "evaluate": {
        *("attacks", "metrics", "scores"),
        *("data", "errors", "family", "files", "plugins", "registry", "rng", "spec", "store", "weights"),
    },
    # From a suite to jobs, from jobs to results, from results to tables.
    "suite": {"data", "errors", "evaluate", "plain", "plugins", "registry", "spec", "weights"},
    "plan": {"data", "errors", "evaluate", "keys", "plugins", "rng", "spec", "suite", "weights"},
    "execute": {
        *("evaluate", "predict", "train"),
        *("data", "errors", "files", "keys", "plain", "plan", "plugins", "registry", "rng", "spec", "store", "weights"),
    },
    "report": {"attacks", "errors", "execute", "files", "metrics", "plain", "plan", "spec", "store", "suite"},
    # What people call.
    "runs": {"errors", "files", "plan", "report", "store", "suite"},
    "compare": {"attacks", "errors", "execute", "metrics", "report", "runs", "store", "suite"},
    "api": {"compare", "data", "errors", "execute", "plan", "report", "runs", "store", "suite", "weights"},
    "commands": {
        *("attacks", "data", "errors", "evaluate", "execute", "family", "files", "keys", "registry", "rng", "runs"),
        *("scores", "spec", "store", "suite", "train", "weights"),
    },
    "conformance": {
        *("api", "attacks", "data", "errors", "evaluate", "family", "plugins", "predict", "registry", "rng", "scores"),
        *("spec", "store", "train"),
    },
    "cli": {"api", "commands", "conformance", "errors", "execute", "files", "plain", "report", "weights"},
    "__init__": {"api"},
    "__main__": {"cli"},
}

# Where an arrow is for few modules only.
ONLY: dict[tuple[str, str], set[str]] = {
    ("store", "metrics"): {"bench.metrics.intervals"},  # the interval of a stored number
    ("compare", "execute"): {"bench.execute.states"},
    ("compare", "attacks"): {"bench.attacks.verdict"},  # which verdict is worse
    ("report", "execute"): {"bench.execute.states"},  # how a job stands, to say why a cell is empty
    ("commands", "train"): {"bench.train.checkpoint_files"},  # which files belong to checkpoints
    ("cli", "execute"): {
        *("bench.execute.devices", "bench.execute.displays", "bench.execute.estimate", "bench.execute.live"),
        *(
            "bench.execute.price",
            "bench.execute.scheduler",
            "bench.execute.speed",
        ),  # what is left of a plan, and its price
    },
    # Verdicts that need several jobs.
    ("report", "attacks"): {"bench.attacks.diagnostics", "bench.attacks.threat", "bench.attacks.verdict"},
    ("suite", "evaluate"): {"bench.evaluate.base", "bench.evaluate.declared"},
    ("plan", "evaluate"): {"bench.evaluate.base"},
    # `bench.data.decoded` says where the user's cache folder is.
    ("suite", "data"): {"bench.data.decoded", "bench.data.registry", "bench.data.spec"},
    ("plan", "data"): {"bench.data.job", "bench.data.registry", "bench.data.spec"},
    ("evaluate", "data"): {
        "bench.data.cifar_c",
        "bench.data.decoded",
        "bench.data.job",
        "bench.data.splits",
        "bench.data.spec",
    },
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
    assert "bench.train.loop" in within_bench("bench.execute.kinds")  # imported inside a function
    assert "bench.api" not in imports(
        "bench.commands.describe", BENCH["bench.commands.describe"]
    )  # for type checkers alone


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


def free_of_cycles(arrows: dict[str, set[str]]) -> None:
    left = {name: set(targets) for name, targets in arrows.items()}
    while left:
        free = {name for name, targets in left.items() if not targets & left.keys()}
        assert free, f"a cycle among {sorted(left)}"
        for name in free:
            del left[name]


def test_the_arrows_have_no_cycle() -> None:
    free_of_cycles(ARROWS)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Inside of folders, too, and inside of functions."""
    free_of_cycles({name: {x for x in imports(name, path) if x in BENCH} - {name} for name, path in BENCH.items()})


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
            ours = top == "bench_models" or name in {"bench.family", "bench.optimizer", "bench.rng", "bench.spec"}
            assert ours or top in {"torch", "pydantic", *sys.stdlib_module_names}, f"{module} imports {name}"


@pytest.mark.parametrize("folder", ["metrics", "scores"])
def test_pure_functions_know_no_torch(folder: str) -> None:
    for module, path in BENCH.items():
        if group(module) == folder:
            tops = {name.split(".")[0] for name in imports(module, path)}
            assert tops <= {"bench", "numpy", "pydantic", "scipy", "sklearn", *sys.stdlib_module_names}, module


@pytest.mark.parametrize("folder", ["metrics", "scores", "attacks"])
def test_what_is_pure_reads_neither_store_nor_suite_nor_model(folder: str) -> None:
    reached: set[str] = set()
    todo = {folder}
    while todo:
        name = todo.pop()
        reached.add(name)
        todo |= {group(x) for module in BENCH if group(module) == name for x in within_bench(module)} - reached
    assert not reached & {"store", "suite", "family", "weights", "plan", "api"}
