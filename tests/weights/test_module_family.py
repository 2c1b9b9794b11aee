"""Anybody's module as a model: ``family = "module"``."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.errors import SuiteError
from bench.files.tensors import save_tensors
from bench.weights.module_family import ModuleClassifier

if TYPE_CHECKING:
    from bench.api import Run
    from tests.conftest import Project, Site


MODULE = """\
import torch
from torch import nn


class Template(nn.Module):
    \"\"\"Correlation with ten fixed patterns.\"\"\"

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10, 64, generator=torch.Generator().manual_seed(1)))

    def forward(self, images):
        return images.flatten(1) @ self.weight.T


def make():
    return Template()


def narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))


def broken():
    raise RuntimeError("no weights on this machine")


def bare():
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(10))


not_a_module = dict
"""


SUITE = """\
[suite]
name = "anybody"
[data]
dataset = "digits"
[[model]]
family   = "module"
callable = "{callable}"
{more}
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind  = "pgd"
steps = 2
eps   = ["25/255"]
items = 32
[[table]]
id = "main"
columns = ["accuracy", "pgd@25/255"]
"""


def text(name: str = "make", more: str = "", module: str = "theirs") -> str:
    return SUITE.format(callable=f"{module}:{name}", more=more)


def run(project: Project, suite: str) -> Run:
    return project.bench.run(project.suite(suite), in_process=True, device="cpu")


def why(project: Project, outcome: Run) -> str:
    """The message of the one job that failed by itself."""
    assert outcome.exit_code() == 1
    (train,) = [job for job in outcome.plan.jobs if job.kind == "train"]
    error = project.bench.store.folder(train.key).error()
    if error is None:
        (error,) = [e for job in outcome.plan.jobs if (e := project.bench.store.folder(job.key).error())][:1]
    return str(error["message"])


def template(images: Any) -> torch.Tensor:
    weight = torch.randn(10, 64, generator=torch.Generator().manual_seed(1))
    return torch.from_numpy(images).flatten(1) @ weight.T


def test_it_is_evaluated_like_others_without_training(
    project: Project, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.train.loop import Trainer

    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("it was trained"))
    site.module("theirs", MODULE)
    outcome = run(project, text())
    assert outcome.exit_code(strict=True) == 0
    records = {job.id: project.bench.store.folder(job.key).record_json() or {} for job in outcome.plan.jobs}
    test = load_splits(DATASETS.get("digits"), Path("/"), seed=0, validation=200).test
    right = template(test.unit_images()).argmax(1).numpy() == test.labels
    (accuracy,) = records["module/digits/seed1/accuracy"]["numbers"]
    assert accuracy["value"] == right.mean()
    attacked = records["module/digits/seed1/pgd@25/255"]
    assert attacked["numbers"][0]["n"] == 32
    with np.load(project.bench.store.folder(attacked["key"]).file("items.npz")) as items:
        place = {int(index): i for i, index in enumerate(test.ids)}
        np.testing.assert_array_equal(items["clean"], right[[place[int(index)] for index in items["ids"]]])
    # The same weights are loaded again, by name.
    with torch.no_grad():
        logits = project.bench.load_model("module")(torch.from_numpy(test.unit_images()[:8]))
    assert torch.allclose(logits, template(test.unit_images()[:8]), atol=1e-5)


def test_a_module_without_parameters(project: Project, site: Site) -> None:
    site.module("theirs", MODULE)
    assert run(project, text("bare")).exit_code(strict=True) == 0


class TestKeys:
    def keys(self, project: Project, suite: str) -> set[str]:
        return {job.key for job in project.plan(suite).jobs}

    def test_an_edit_of_the_source_is_another_model(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        before = self.keys(project, text())
        site.module("theirs", MODULE.replace("@ self.weight.T", "@ self.weight.T * 2"))
        assert not before & self.keys(project, text())

    def test_comments_and_layout_are_not(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        before = self.keys(project, text())
        site.module("theirs", "# a remark\n" + MODULE.replace("Correlation with", "Products with"))
        assert self.keys(project, text()) == before

    def test_other_weights_in_the_same_file_are_another_model(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        path = project.root / "weights.safetensors"
        more = f'state_dict = "{path}"'
        save_tensors(path, {"weight": torch.zeros(10, 64)})
        before = self.keys(project, text(more=more))
        assert self.keys(project, text(more=more)) == before
        assert not before & self.keys(project, text())
        save_tensors(path, {"weight": torch.ones(10, 64)})
        assert not before & self.keys(project, text(more=more))

    def test_another_callable_of_the_same_module_is_another_model(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        assert not self.keys(project, text()) & self.keys(project, text("narrow"))


@pytest.mark.parametrize("ending", [".safetensors", ".pt"])
def test_weights_are_loaded_into_it(project: Project, site: Site, ending: str) -> None:
    site.module("theirs", MODULE)
    path = project.root / f"weights{ending}"
    weights = {"weight": torch.eye(64)[:10].contiguous()}
    if ending == ".pt":
        torch.save(weights, path)
    else:
        save_tensors(path, weights)
    assert run(project, text(more=f'state_dict = "{path}"')).exit_code(strict=True) == 0
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(project.bench.load_model("module")(images), images.flatten(1)[:, :10])


class TestFailures:
    def test_logits_of_another_shape(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        message = why(project, run(project, text("narrow")))
        assert re.search(r"returned shape \(\d+, 9\) for (\d+) images, expected \(\1, 10\) logits", message)

    def test_something_that_is_no_tensor(self, project: Project, site: Site) -> None:
        code = "import torch\nclass Named(torch.nn.Module):\n    def forward(self, x):\n        return {'logits': x}\n"
        site.module("theirs", f"{code}narrow = Named\n")
        assert "the module returned a dict, expected a tensor of logits" in why(project, run(project, text("narrow")))

    @pytest.mark.parametrize(
        ("name", "module", "message"),
        [
            ("not_a_module", "theirs", "returned a dict, not an nn.Module"),
            ("broken", "theirs", "no weights on this machine"),
        ],
    )
    def test_a_callable_that_gives_no_module(
        self, project: Project, site: Site, name: str, module: str, message: str
    ) -> None:
        site.module("theirs", MODULE)
        assert message in why(project, run(project, text(name, module=module)))

    def test_weights_that_do_not_fit(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        path = project.root / "weights.safetensors"
        save_tensors(path, {"weight": torch.zeros(10, 63)})
        message = why(project, run(project, text(more=f'state_dict = "{path}"')))
        assert message.startswith(f"{path} does not fit 'theirs:make'")

    def test_a_backbone_is_refused(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        with pytest.raises(SuiteError, match="the family 'module' has no backbone"):
            project.plan(text(more='backbone = "wrn-10-1"'))


class TestCheck:
    """What does not exist is found where a suite is read, with file, line and key, before anything runs."""

    def problem(self, project: Project, suite: str) -> Any:
        with pytest.raises(SuiteError) as caught:
            project.plan(suite)
        (problem,) = caught.value.problems
        assert problem.file is not None
        assert problem.line is not None
        return problem

    @pytest.mark.parametrize(
        ("reference", "message", "hint"),
        [
            ("nowhere:make", "'nowhere:make' cannot be imported: no module 'nowhere'", "put its folder on the path"),
            ("thiers:make", "no module 'thiers'", "did you mean 'theirs'? Else install its package"),
            ("pack.modle:make", "no module 'pack.modle'", "did you mean 'model'?"),
            ("pack.model.deeper:make", "no module 'pack.model.deeper'", "install its package"),
            ("theirs:mkae", "has no 'mkae'", "did you mean 'make'?"),
            ("theirs:Template.forward", "is not of the form 'package.module:attribute'", ""),
            ("theirs.make", "'theirs.make' is not of the form 'package.module:attribute'", ""),
            (":make", "is not of the form", ""),
            ("theirs:", "is not of the form", ""),
            ("mistyped:make", "mistyped.py, line 2: ", ""),
            ("incomplete:make", "no module 'surely_absent'", "install its package"),
        ],
    )
    def test_callables(self, project: Project, site: Site, reference: str, message: str, hint: str) -> None:
        site.module("theirs", MODULE)
        site.module("mistyped", "import torch\ndef make(:\n    pass\n")
        site.module("incomplete", "import surely_absent.part\n\ndef make():\n    pass\n")
        pack = Path(importlib.util.find_spec("theirs").origin).parent / "pack"  # type: ignore[union-attr, arg-type]
        pack.mkdir()
        (pack / "__init__.py").write_text("raise RuntimeError('check imported it')\n")
        (pack / "model.py").write_text("def make():\n    pass\n")
        problem = self.problem(project, text().replace("theirs:make", reference))
        assert problem.key == "model[0].callable"
        assert message in problem.message
        assert hint in problem.hint
        assert bool(hint) == bool(problem.hint)

    @pytest.mark.parametrize(
        "source",
        [
            "from helpers_of_theirs import *\n",
            "def __getattr__(name):\n    return None\n",
            "globals()['make'] = None\n",
            "if True:\n    def make():\n        pass\n",
            "try:\n    import surely_absent\nexcept ImportError:\n    make = None\n",
            "(make, other) = None, 1\n",
            "from os import path as make\n",
        ],
    )
    def test_what_may_be_there_is_not_refused(self, project: Project, site: Site, source: str) -> None:
        site.module("helpers_of_theirs", "make = None\n")
        site.module("flexible", source)
        assert project.plan(text(module="flexible")).jobs

    def test_no_package_is_imported(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE.replace("import torch\n", "import torch\nimport antigravity\n"))
        assert project.plan(text()).jobs
        assert "theirs" not in sys.modules

    def test_weights(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        suites = project.root / "suites"
        problem = self.problem(project, text(more='state_dict = "none.pt"'))
        assert (problem.key, problem.message) == ("model[0].state_dict", f"{suites / 'none.pt'} not found")
        torch.save({"weight": torch.zeros(10, 64)}, suites / "robust.pt")
        assert "did you mean 'robust.pt'?" in self.problem(project, text(more='state_dict = "robsut.pt"')).hint
        assert "there is no folder" in self.problem(project, text(more='state_dict = "no/robust.pt"')).hint
        assert "is a folder" in self.problem(project, text(more='state_dict = "."')).message
        content = (suites / "robust.pt").read_bytes()
        for name, damaged in (("a.pt", content[:200]), ("b.pt", b"text"), ("c.safetensors", content), ("d.pt", b"")):
            (suites / name).write_bytes(damaged)
            assert str(suites / name) in self.problem(project, text(more=f'state_dict = "{name}"')).message
        assert "cannot be read" in self.problem(project, text(more=f'state_dict = "{"x" * 300}.pt"')).message

    def test_paths_are_relative_to_the_suite(self, project: Project, site: Site, tmp_path: Path) -> None:
        """Wherever the command runs; and the key does not depend on where the suite lies."""
        site.module("theirs", MODULE)
        more = 'state_dict = "robust.safetensors"'
        weights = {"weight": torch.eye(64)[:10].contiguous()}
        save_tensors(Path("robust.safetensors"), weights)  # in the working folder, where it is not looked for
        hint = self.problem(project, text(more=more)).hint
        assert hint == "paths are relative to the suite; the working folder has 'robust.safetensors'"
        Path("robust.safetensors").rename(project.root / "suites" / "robust.safetensors")
        outcome = run(project, text(more=more))
        assert outcome.exit_code(strict=True) == 0
        (job,) = [job for job in outcome.plan.jobs if job.kind == "train"]
        assert job.task.train.model.config["state_dict"] == str(project.root / "suites" / "robust.safetensors")
        elsewhere = tmp_path / "moved"
        elsewhere.mkdir()
        for file in (project.root / "suites").iterdir():
            (elsewhere / file.name).write_bytes(file.read_bytes())
        moved = project.bench.plan(elsewhere / "tiny.toml")
        assert {other.key for other in moved.jobs} == {other.key for other in outcome.plan.jobs}


def test_the_record_says_how_a_state_dict_was_read(project: Project, site: Site) -> None:
    site.module("theirs", MODULE)
    torch.save({"state_dict": {"module.weight": torch.eye(64)[:10]}}, project.root / "a.pt")
    outcome = run(project, text(more='state_dict = "../a.pt"'))
    assert outcome.exit_code(strict=True) == 0
    (train,) = [job for job in outcome.plan.jobs if job.kind == "train"]
    record = project.bench.store.folder(train.key).record_json() or {}
    assert record["notes"] == [
        "the state dict lay under 'state_dict'",
        "'module.' taken off the names of the tensors",
    ]
    log = project.bench.store.folder(train.key).file("log.txt").read_text()
    assert all(note in log for note in record["notes"])


def test_gradients_reach_the_images() -> None:
    model = ModuleClassifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 3, (1, 2, 2))
    images = torch.rand(2, 1, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.logits(images).sum(), images)
    assert gradient.abs().sum() > 0


class InPlace(nn.Module):
    """Scales its input in place, as much code for one data set does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layer(images.sub_(0.5).mul_(2).flatten(1))
        return logits


def test_a_module_may_change_its_input_in_place() -> None:
    from bench.attacks import run

    torch.manual_seed(0)
    images = torch.rand(6, 1, 2, 2)
    before, model = images.clone(), ModuleClassifier(InPlace(), 3, (1, 2, 2)).eval()
    first = model(images)
    assert torch.equal(images, before)
    assert torch.equal(model(images), first)
    result = run("pgd", model, images, first.argmax(dim=1), norm="linf", eps=0.5, seed=0, loss="margin", step=0.25)
    assert result.success.any()
