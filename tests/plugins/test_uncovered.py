"""Code that a key does not cover is told by name."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bench.plugins.sources import source_facts, sources, uncovered
from tests.conftest import Project
from tests.plugins.conftest import Write

SUITE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
{model}
[[evaluation]]
kind = "accuracy"
"""

ELSEWHERE = {
    "import importlib\nn = 'x'\nimportlib.import_module(n)": "line 3) imports a module by a name that it makes",
    "__import__(open)": "line 1) imports a module by a name that it makes",
    "exec('x = 1')": "line 1) runs code that it makes (exec)",
    "import numpy as np\nx = np.load('a.npy')": "line 2) opens files (numpy.load)",
    "from torch import load\nx = load('a.pt')": "line 2) opens files (torch.load)",
    "with open('a') as f:\n    pass": "line 1) opens files (open)",
    "from pathlib import Path\nx = Path('a').read_text()": "line 2) opens files (read_text)",
    "import torch\nm = torch.hub.load('a/b', 'c')": "line 2) loads code from a repository (torch.hub.load)",
    "from importlib.util import spec_from_file_location as s\ns('a', 'b')": "line 2) imports a file by its path",
    "import ctypes\nl = ctypes.CDLL('x.so')": "line 2) loads compiled code (ctypes.CDLL)",
    "import nowhere_t": "nowhere_t, which root_t imports and is not found",
}


@pytest.mark.parametrize("code", ELSEWHERE)
def test_what_is_not_covered_is_told_by_name(tree: Write, code: str) -> None:
    tree(root_t=f"{code}\n")
    (text,) = uncovered("family 'mine'", None, "root_t:f")
    assert ELSEWHERE[code] in text
    assert "root_t" in text
    assert text.startswith("family 'mine': ")
    assert uncovered("family 'mine'", 1, "root_t:f") == ()


def test_what_a_helper_does_is_told_too(tree: Write) -> None:
    tree(root_t="import helper_t", helper_t="x = open('data.txt').read()")
    (text,) = uncovered("backbone 'b'", None, "root_t:f")
    assert "what helper_t (line 1) opens files (open)" in text


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "try:\n    import nowhere_t\nexcept ImportError:\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import nowhere_t",
        "import torch\nx = torch.nn.Module()\nx.load_state_dict({})",
        "from torch import nowhere_t",
    ],
)
def test_what_is_harmless_is_not_told(tree: Write, code: str) -> None:
    tree(root_t=f"{code}\n")
    assert uncovered("x", None, "root_t:f") == ()


def test_compiled_modules_are_told(tree: Write, tmp_path: Path) -> None:
    from importlib.machinery import EXTENSION_SUFFIXES

    tree(root_t="import fast_t")
    (tmp_path / "mine" / f"fast_t{EXTENSION_SUFFIXES[0]}").write_bytes(b"\x7fELF")
    importlib.invalidate_caches()
    assert "fast_t, which is no Python source" in sources("root_t").uncovered


@pytest.mark.parametrize("name", ["nowhere_t.net", "nowhere_t", "__main__", ""])
def test_code_that_is_nowhere(name: str) -> None:
    assert source_facts(f"{name}:f")["source"] == "unknown"
    assert len(uncovered("x", None, f"{name}:f")) == 1


def test_the_suite_tells_what_it_cannot_see(tree: Write, project: Project) -> None:
    tree(own_t="import torch\n\n\ndef make():\n    return torch.load('net.pt')")
    plan = project.plan(SUITE.format(model='family = "module"\ncallable = "own_t:make"\nlabel = "mine"'))
    (text,) = plan.suite.warnings
    assert text.startswith("model 'mine': a change of the following is not noticed")
    assert "what own_t (line 5) opens files (torch.load)" in text
