"""Anybody's module as a model: ``family = "module"``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.errors import BenchError
from bench.external_module import ModuleClassifier, read_state_dict
from bench.tensors import save_tensors

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
    records = {job.id: project.bench.store.folder(job.key).record() or {} for job in outcome.plan.jobs}
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

    @pytest.mark.parametrize(
        ("name", "module", "message"),
        [
            ("make", "nowhere", "callable 'nowhere:make' cannot be imported: No module named 'nowhere'"),
            ("mkae", "theirs", "callable 'theirs:mkae' cannot be imported"),
            ("not_a_module", "theirs", "returned a dict, not an nn.Module"),
            ("broken", "theirs", "no weights on this machine"),
        ],
    )
    def test_a_callable_that_gives_no_module(
        self, project: Project, site: Site, name: str, module: str, message: str
    ) -> None:
        site.module("theirs", MODULE)
        assert message in why(project, run(project, text(name, module=module)))

    def test_a_reference_of_another_form(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        message = why(project, run(project, text().replace("theirs:make", "theirs.make")))
        assert "'theirs.make' is not of the form 'package.module:attribute'" in message

    def test_weights_that_do_not_fit(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        path = project.root / "weights.safetensors"
        save_tensors(path, {"weight": torch.zeros(10, 63)})
        message = why(project, run(project, text(more=f'state_dict = "{path}"')))
        assert message.startswith(f"{path} does not fit 'theirs:make'")

    def test_weights_that_are_not_there(self, project: Project, site: Site) -> None:
        site.module("theirs", MODULE)
        assert "none.pt: no such file" in why(project, run(project, text(more='state_dict = "none.pt"')))

    def test_a_backbone_is_refused(self, project: Project, site: Site) -> None:
        from bench.errors import SuiteError

        site.module("theirs", MODULE)
        with pytest.raises(SuiteError, match="the family 'module' has no backbone"):
            project.plan(text(more='backbone = "wrn-10-1"'))


def test_a_state_dict_that_would_run_code_is_refused(tmp_path: Path) -> None:
    import os
    import pickle

    class Trap:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'marker'}",)

    torch.save({"weight": Trap()}, tmp_path / "a.pt")
    with pytest.raises((BenchError, pickle.UnpicklingError)):
        read_state_dict(tmp_path / "a.pt")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": 1}])
def test_what_is_no_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BenchError, match="does not hold a plain state dict"):
        read_state_dict(tmp_path / "a.pt")


def test_gradients_reach_the_images() -> None:
    model = ModuleClassifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), 3, (1, 2, 2))
    images = torch.rand(2, 1, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(model.logits(images).sum(), images)
    assert gradient.abs().sum() > 0
