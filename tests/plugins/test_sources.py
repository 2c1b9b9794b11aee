"""The source of everything that an implementation imports is in its key; what can't be is told by name."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from bench.keys import source_digest
from bench.plugins.source_scan import scan
from bench.plugins.sources import SEEDING_VERSION, component, source_facts, sources, uncovered
from tests.conftest import Project, Site
from tests.plugins.conftest import Write

SPEC = """\
from bench.spec import FamilySpec, TrainingConfig

SPEC = FamilySpec(
    name="st-t", label="ST", summary="Softmax with a loss of its own.", source="a test", config=TrainingConfig,
    implementation="st_net_t:Family",
)
"""
NET = """\
from bench_models.softmax import Softmax
from st_losses_t import loss


class Family(Softmax):
    def training_step(self, model, batches, state, iteration):
        return loss(model, batches["train"])
"""
SUITE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
family = "softmax"
backbone = "wrn-10-1"
[[model]]
{model}
[[evaluation]]
kind = "accuracy"
"""


def covered(module: str) -> set[str]:
    return set(sources(module).files)


WAYS = {
    "import helper_t": "helper_t",
    "import helper_t as h": "helper_t",
    "from helper_t import loss": "helper_t",
    "def f():\n    import helper_t": "helper_t",
    "class A:\n    def f(self):\n        from helper_t import loss": "helper_t",
    "try:\n    import helper_t\nexcept ImportError:\n    helper_t = None": "helper_t",
    "if True:\n    pass\nelse:\n    import helper_t": "helper_t",
    "import importlib\nm = importlib.import_module('helper_t')": "helper_t",
    "from importlib import import_module as load\nm = load('helper_t')": "helper_t",
    "import importlib as i\nm = i.import_module(name='helper_t')": "helper_t",
    "m = __import__('helper_t')": "helper_t",
    "from pack_t import part": "pack_t.part",
    "import pack_t.part": "pack_t.part",
    "from pack_t.part import loss": "pack_t.part",
    "from pack_t import *": "pack_t.part",
    "import importlib\nm = importlib.import_module('.part', 'pack_t')": "pack_t.part",
    "import importlib\nm = importlib.import_module('.part', package='pack_t')": "pack_t.part",
}


@pytest.mark.parametrize("code", WAYS)
def test_every_way_to_import_is_seen(tree: Write, code: str) -> None:
    tree(root_t=code, helper_t="loss = 1", pack_t__in____init__="__all__ = ['part']", pack_t__in__part="loss = 1")
    before = component("x", None, "root_t:f")
    assert WAYS[code] in covered("root_t")
    tree(**{WAYS[code].replace(".", "__in__"): "loss = 20"})
    after = component("x", None, "root_t:f")
    assert after != before
    assert uncovered("x", None, "root_t:f") == ()


def test_relative_imports_and_the_packages_around(tree: Write) -> None:
    tree(
        pkg_t__in____init__="from . import config",
        pkg_t__in__config="c = 1",
        pkg_t__in__nets__in____init__="",
        pkg_t__in__nets__in__wide="from ..losses import loss\nfrom . import block",
        pkg_t__in__nets__in__block="import importlib\nx = importlib.import_module('.deep', __package__)",
        pkg_t__in__nets__in__deep="from .. import late",
        pkg_t__in__losses="loss = 1",
        pkg_t__in__late="",
        pkg_t__in__unused="",
    )
    assert covered("pkg_t.nets.wide") == {
        *("pkg_t", "pkg_t.config", "pkg_t.losses", "pkg_t.late"),
        *("pkg_t.nets", "pkg_t.nets.wide", "pkg_t.nets.block", "pkg_t.nets.deep"),
    }


def test_an_import_of_an_import_counts_and_circles_end(tree: Write) -> None:
    tree(one_t="import two_t", two_t="import three_t", three_t="import one_t\nx = 1")
    before = source_facts("one_t:f")
    assert covered("one_t") == {"one_t", "two_t", "three_t"}
    tree(three_t="import one_t\nx = 1  # a remark\n")
    assert source_facts("one_t:f") == before
    tree(three_t="import one_t\nx = 22")
    assert source_facts("one_t:f") != before


def test_nothing_is_executed(tree: Write) -> None:
    """Planning must not import networks: only where modules are is looked up."""
    tree(
        root_t="from pkg_t.sub import net",
        pkg_t__in____init__="raise RuntimeError('executed')",
        pkg_t__in__sub__in____init__="raise RuntimeError('executed')",
        pkg_t__in__sub__in__net="raise RuntimeError('executed')",
    )
    assert covered("root_t") == {"root_t", "pkg_t", "pkg_t.sub", "pkg_t.sub.net"}
    assert not {"pkg_t", "pkg_t.sub"} & set(sys.modules)


def test_folders_without_an_init(tree: Write) -> None:
    tree(space_t__in__inner__in__net="from space_t import losses", space_t__in__losses="")
    assert covered("space_t.inner.net") == {"space_t.inner.net", "space_t.losses"}


def test_a_module_alone_has_the_digest_of_its_file(tree: Write, tmp_path: Path) -> None:
    tree(root_t="import math, torch, json\nx = 1")
    path = tmp_path / "mine" / "root_t.py"
    assert source_facts("root_t:f") == {"source": source_digest(path), "seeding": SEEDING_VERSION}
    assert component("x", 3, "root_t:f") == {"name": "x", "version": 3}


def test_the_place_does_not_count(tmp_path: Path) -> None:
    """Two machines have one key: names are those of modules, not of folders."""
    found = []
    for place in ("a", "b"):
        root = tmp_path / place
        root.mkdir()
        (root / "root_t.py").write_text("import helper_t\nimport torch, numpy")
        (root / "helper_t.py").write_text("x = 1")
        code = "from bench.plugins.sources import source_facts; print(source_facts('root_t:f'))"
        run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
        found.append(run.stdout)
    assert found[0] == found[1]
    assert str(tmp_path) not in found[0]


def test_other_encodings_are_read(tree: Write, tmp_path: Path) -> None:
    tree(root_t="import helper_t")
    path = tmp_path / "mine" / "helper_t.py"
    path.write_bytes("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"))
    assert covered("root_t") == {"root_t", "helper_t"}
    path.write_bytes("# -*- coding: utf-8 -*-\nx = 'é'\n".encode("latin-1"))
    assert uncovered("family 'x'", None, "root_t:f")[0].startswith("family 'x': a change of the following is not")
    assert "helper_t, which cannot be read" in sources("root_t").uncovered


# --- distributions ----------------------------------------------------------------------------------------------


def installed(site: Site, name: str, modules: dict[str, str], version: str = "1.0") -> None:
    for module, text in modules.items():
        site.module(module, text)
    info = site.root / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    tops = sorted({module.partition(".")[0] for module in modules})
    (info / "top_level.txt").write_text("\n".join(tops) + "\n")
    importlib.invalidate_caches()


@pytest.fixture
def fresh() -> Any:
    from bench.plugins import sources as module

    module._distribution.cache_clear()
    module._distributions.cache_clear()
    yield
    module._distribution.cache_clear()
    module._distributions.cache_clear()


def test_of_its_own_distribution_the_source_counts_and_of_others_the_version(site: Site, fresh: None) -> None:
    own = {"mine_t.net": "import other_t\nfrom mine_extra_t import loss", "mine_extra_t": "loss = 1"}
    installed(site, "mine-t", own)
    installed(site, "other-t-dist", {"other_t": "import third_t", "third_t": ""}, "2.5")
    found = sources("mine_t.net")
    assert set(found.files) == {"mine_t.net", "mine_extra_t"}
    assert found.distributions == {"other-t-dist": "2.5"}
    assert source_facts("mine_t.net:f")["distributions"] == {"other-t-dist": "2.5"}
    assert found.uncovered == []


def test_a_persons_own_file_takes_the_version_of_what_is_installed(site: Site, tree: Write, fresh: None) -> None:
    installed(site, "other-t-dist", {"other_t": ""}, "2.5")
    tree(root_t="import other_t, numpy, torch.nn.functional")
    assert sources("root_t").distributions == {"other-t-dist": "2.5"}
    assert set(sources("root_t").files) == {"root_t"}


def test_what_ours_compute_for_a_stranger_counts(tree: Write) -> None:
    tree(root_t="from bench.family import Family\nfrom bench.spec import FamilySpec\nfrom bench_models.jem import JEM")
    files = covered("root_t")
    assert {"root_t", "bench.family", "bench_models.jem", "bench_models.langevin", "bench_models.replay"} <= files
    assert not {"bench.spec", "bench.registry", "bench_models.gmmc"} & files
    assert sources("root_t").uncovered == []


def test_attacks_find_each_other_by_name_so_all_of_them_count(tree: Write) -> None:
    tree(root_t="from bench.attacks import run")
    assert {"bench.attacks.runner", "bench.attacks.pgd", "bench.attacks.carlini_wagner"} <= covered("root_t")


def test_a_library_by_name_is_its_version(tree: Write) -> None:
    """A function of torchvision is one file of its source and not all of the library."""
    facts = source_facts("torchvision.models:resnet18")
    assert facts["distributions"] == {"torchvision": metadata.version("torchvision")}
    assert "imports" not in facts


@pytest.mark.parametrize(
    ("model", "helper"),
    [
        ('family = "st_spec_t:SPEC"\nbackbone = "wrn-10-1"', "st_losses_t"),
        ('family = "module"\ncallable = "own_t:make"', "helpernet_t"),
    ],
)
def test_an_edit_of_a_helper_is_never_answered_from_the_store(
    tree: Write, project: Project, model: str, helper: str
) -> None:
    tree(
        st_spec_t=SPEC,
        st_net_t=NET,
        st_losses_t="def loss(model, batch):\n    return 1",
        own_t="from helpernet_t import Net\n\n\ndef make():\n    return Net()",
        helpernet_t="class Net:\n    x = 1",
    )
    text = SUITE.format(model=model)
    before = {job.id: job.key for job in project.plan(text).jobs}
    tree(**{helper: "class Net:\n    x = 22\n\n\nloss = Net"})
    after = {job.id: job.key for job in project.plan(text).jobs}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if not name.startswith("softmax/")}
    assert len(changed) == 3
    assert project.bench.suite("tiny").warnings == ()


def test_a_file_is_read_again_only_when_it_changed(
    tree: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(root_t="x = 1")
    path = tmp_path / "mine" / "root_t.py"
    first = scan(path, "root_t", package=False)
    reads: list[Path] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: (reads.append(self), read(self))[1])
    assert scan(path, "root_t", package=False) is first
    path.write_text("x = 22")
    assert scan(path, "root_t", package=False).digest != first.digest
    assert reads == [path]
