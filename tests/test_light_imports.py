"""What needs no network answers at once: no torch, and none of what imports it, in these processes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import Project, Results

HEAVY = ("torch", "torchvision", "torchattacks", "pytorch_fid", "matplotlib", "pandas", "sklearn")
"""``sklearn`` because the data set digits is in it: planning needs no data either."""

COMMANDS = [
    "--help",
    "run --help",
    *(
        f"list {kind}"
        for kind in ("families", "backbones", "datasets", "evaluations", "attacks", "scores", "suites", "profiles")
    ),
    "check digits",
    "check robustness --profile smoke",
    "plan digits",
    "plan digits --json",
    "run digits --dry-run",
    "status digits",
    "describe gmmc-gen",
    "describe wrn-28-10",
    "describe cifar10",
    "data list",
    "describe pgd",
    "describe calibration.ece",
    "table digits",
    "table digits --format json",
    "schema",
    "schema profile",
    "clean",
    "doctor",
]

PROBE = """
import json, sys
found = {}
for action in json.loads(sys.argv.pop()):
    before = set(sys.modules)
    try:
        exec(action)
    except SystemExit as end:
        assert not end.code, (action, end.code)
    found[action] = [name for name in HEAVY if name in set(sys.modules) - before]
print()
print(json.dumps(found))
"""
CALL = "from bench.cli.main import cli; cli.main({}, prog_name='bench')"


def heavy(*actions: str, modules: tuple[str, ...] = HEAVY) -> dict[str, list[str]]:
    """What each action imports of the heavy modules, one after the other in a fresh process."""
    code = PROBE.replace("HEAVY", repr(modules))
    done = subprocess.run([sys.executable, "-c", code, json.dumps(actions)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == list(actions)
    return found


def test_the_probe_sees_what_is_imported() -> None:
    assert heavy("import json", "import matplotlib", "import bench") == {
        "import json": [],
        "import matplotlib": ["matplotlib"],
        "import bench": [],
    }


def test_commands(project: Project) -> None:
    project.suite()
    found = heavy(*(CALL.format(command.split()) for command in COMMANDS))
    assert {action: modules for action, modules in found.items() if modules} == {}


def test_only_html_needs_templates(project: Project) -> None:
    project.suite()
    table, html = (CALL.format(f"table tiny{more}".split()) for more in ("", " --format html"))
    assert heavy(table, html, modules=("jinja2", "torch")) == {table: [], html: ["jinja2"]}


def test_a_finished_run(project: Project, results: Results) -> None:
    """Nothing is left to do: the command shows tables and writes the report, and needs no network for it."""
    plan = project.plan()
    for job in plan.jobs:
        if job.blocked is None:
            results.finish(job, **({"numbers": [], "evaluation_kind": "x"} if job.kind == "evaluate" else {}))
    action = CALL.format(["run", "tiny"])
    assert heavy(action) == {action: []}
    assert (project.results / "reports" / "tiny" / "report.html").is_file()


def test_the_library(project: Project) -> None:
    project.suite()
    found = heavy(
        "import bench",
        "import bench; bench.plan('tiny')",
        "import bench; bench.tables('tiny')",
        "import bench_models.specs",
        "import bench.evaluate.catalogue, bench.data.catalogue",
        "import bench.execute.executors",
    )
    assert {action: modules for action, modules in found.items() if modules} == {}


def test_the_module_is_the_command(project: Project) -> None:
    """``python -m bench``, and the time it takes: a person waits for it at every key press of a completion."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bench", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: bench")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "bench.cli.main" in imported
    assert not imported.intersection(HEAVY)
