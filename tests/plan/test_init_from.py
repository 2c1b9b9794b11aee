"""Models that start from another model of the suite."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench.errors import SuiteError
from bench.files.tensors import load_tensors
from bench.spec import FAMILIES
from tests.conftest import planned

if TYPE_CHECKING:
    from tests.conftest import Project

HEAD = '[suite]\nname = "switch"\n[data]\ndataset = "digits"\n'
TAIL = """\
[[evaluation]]
kind = "energies"
iterations = [0, 1, 2]
[[evaluation]]
kind = "accuracy"
[[table]]
id = "table10"
models = {rows}
columns = ["energies.real@0", "energies.sampled@0", "energies.sampled@2"]
"""
CAPS = '[profile]\nname = "few"\n[caps]\ntrain = 192\nvalidation = 20\nitems = 32\n'

SOFTMAX = '[[model]]\nfamily = "softmax"\nbackbone = "wrn-10-1"\nepochs = 2\nwarmup = 0\nlr = 2e-3\n'
DIS = SOFTMAX.replace("softmax", "gmmc-dis")


def switched(name: str, source: str, family: str = "jem", steps: int = 2, more: str = "") -> str:
    return (
        f'[[model]]\nname = "{name}"\nlabel = "{name}"\nfamily = "{family}"\nbackbone = "wrn-10-1"\n'
        f'init_from = "{source}"\nepochs = 1\nwarmup = 0\nlog_iterations = 3\n{more}'
        f"[model.sampler]\nsteps = {steps}\nbuffer = 100\n"
    )


def suite(*models: str, rows: str = '["jem-2", "jem-4"]') -> str:
    return HEAD + "".join(models) + TAIL.format(rows=rows)


@pytest.fixture
def small(project: Project) -> str:
    return str(project.profile(CAPS, "few"))


def test_the_first_stage_is_trained_once_and_shared(project: Project, small: str) -> None:
    """Table 10 in miniature: softmax to JEM with two samplers, and GMMC (Dis) to GMMC (Gen) beside them."""
    text = suite(
        SOFTMAX,
        switched("jem-2", "softmax"),
        switched("jem-4", "softmax", steps=4),
        DIS,
        switched("gmmc-switched", "gmmc-dis", "gmmc-gen"),
        rows='["jem-2", "jem-4", "gmmc-switched"]',
    )
    outcome = project.bench.run(project.suite(text), profile=small, in_process=True, device="cpu")
    store = project.bench.store
    assert outcome.exit_code() == 0, [store.folder(job.key).error() for job in outcome.plan.jobs]
    trains = {job.model: job for job in outcome.plan.jobs if job.kind == "train"}
    assert len(trains) == 5
    assert sum(job.kind == "train" for job in outcome.summary.ran) == 5
    records = {name: store.folder(job.key).record_json() or {} for name, job in trains.items()}
    for name in ("jem-2", "jem-4"):
        assert trains[name].inputs == (trains["softmax"].key,)
        assert records[name]["init_from"] == records["softmax"]["weights"]
    assert records["gmmc-switched"]["init_from"] == records["gmmc-dis"]["weights"]
    # Both saw the same real batch with the same weights; the longer sampler went further.
    logs = {name: records[name]["iterations"] for name in ("jem-2", "jem-4")}
    assert logs["jem-2"][0]["energy_real"] == logs["jem-4"][0]["energy_real"]
    assert logs["jem-4"][0]["energy_sampled"] < logs["jem-2"][0]["energy_sampled"]
    (table,) = project.bench.report(outcome.plan).tables
    shown = {row.label: [cell.value for cell in row.cells] for row in table.rows}
    for name in ("jem-2", "jem-4", "gmmc-switched"):
        log = records[name]["iterations"]
        assert shown[name] == [log[0]["energy_real"], log[0]["energy_sampled"], log[2]["energy_sampled"]]


def test_a_switched_model_starts_with_the_weights_of_its_source(project: Project, small: str) -> None:
    """Its learning rate is so small that training moves nothing."""
    text = suite(SOFTMAX, switched("jem-2", "softmax", more="lr = 1e-30\n"), rows='["jem-2"]')
    outcome = project.bench.run(project.suite(text), profile=small, only=("*/train",), in_process=True, device="cpu")
    weights: dict[str, Any] = {}
    for job in outcome.plan.jobs:
        weights[job.model], _ = load_tensors(project.bench.store.folder(job.key).file("weights.safetensors"))
    assert set(weights) == {"softmax", "jem-2"}
    assert set(weights["softmax"]) == set(weights["jem-2"])
    assert all(torch.equal(tensor, weights["jem-2"][name]) for name, tensor in weights["softmax"].items())


def test_each_seed_starts_from_its_own_source(project: Project) -> None:
    text = suite(SOFTMAX, switched("jem-2", "softmax", more="seeds = [1, 2]\n"), rows='["jem-2"]')
    jobs = {job.id: job for job in project.plan(text).jobs}
    for seed in (1, 2):
        (source,) = jobs[f"jem-2/digits/seed{seed}/train"].inputs
        assert source == jobs[f"softmax/digits/seed{seed}/train"].key
    # The suite asks for the second seed of softmax only as a source: it is not evaluated.
    assert "softmax/digits/seed2/accuracy" not in jobs


def test_what_changes_the_source_changes_what_starts_from_it(project: Project) -> None:
    text = suite(SOFTMAX, switched("jem-2", "softmax"), rows='["jem-2"]')
    before, after = project.plan(text), project.plan(text.replace("epochs = 2", "epochs = 3"))
    for name in ("softmax", "jem-2"):
        one, other = (planned(plan, f"{name}/digits/seed1/train") for plan in (before, after))
        assert one.key != other.key


def test_chains(project: Project, small: str) -> None:
    text = suite(
        switched("third", "second", "gmmc-gen"),
        switched("second", "gmmc-dis", "gmmc-gen"),
        DIS,
        rows='["third"]',
    )
    plan = project.bench.plan(project.suite(text), profile=small)
    order = [job.model for job in plan.jobs if job.kind == "train"]
    assert order == ["gmmc-dis", "second", "third"]
    outcome = project.bench.run(
        project.suite(text), profile=small, only=("third/*/train",), in_process=True, device="cpu"
    )
    assert [job.model for job in outcome.summary.ran] == order
    assert outcome.exit_code(strict=True) == 0


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([switched("jem-2", "jem-2")], "models start from each other: jem-2 from jem-2"),
        (
            [switched("jem-2", "jem-4"), switched("jem-4", "jem-2")],
            "models start from each other: jem-2 from jem-4 from jem-2",
        ),
        ([SOFTMAX, switched("jem-2", "softmx")], "no model of the suite is called 'softmx'; did you mean 'softmax'"),
        (
            [SOFTMAX, switched("jem-2", "softmax", more='weights = "theirs"\n')],
            "a model has init_from or weights, not both",
        ),
    ],
)
def test_sources_that_are_none(project: Project, models: list[str], message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        project.plan(suite(*models, rows='["jem-2"]'))
    assert message in str(caught.value)


def test_a_model_behind_a_cycle_is_not_blamed_and_ends(project: Project) -> None:
    models = [switched("first", "second"), switched("second", "third"), switched("third", "second")]
    with pytest.raises(SuiteError) as caught:
        project.plan(suite(*models, rows='["first"]'))
    assert str(caught.value).count("models start from each other") == 2


def test_a_source_of_another_shape_is_refused_before_anything_is_trained(project: Project, small: str) -> None:
    text = suite(SOFTMAX, switched("gmmc-switched", "softmax", "gmmc-gen"), rows='["gmmc-switched"]')
    with pytest.raises(SuiteError) as error:
        project.bench.plan(project.suite(text), profile=small)
    (problem,) = error.value.problems
    assert problem.key == "model[1].init_from"
    assert problem.message.endswith("its weights do not fit")


def test_a_source_of_another_shape_fails_by_name(project: Project, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family that does not say what its parameters are is found out by its worker."""
    entries = {
        entry.name: replace(entry, value=replace(entry.value, layout=None)) if entry.value else entry
        for entry in FAMILIES.entries()
    }
    monkeypatch.setattr(FAMILIES, "_entries", entries)
    text = suite(SOFTMAX, switched("gmmc-switched", "softmax", "gmmc-gen"), rows='["gmmc-switched"]')
    outcome = project.bench.run(project.suite(text), profile=small, only=("*/train",), in_process=True, device="cpu")
    assert outcome.exit_code() == 1
    (job,) = [job for job in outcome.plan.jobs if job.model == "gmmc-switched"]
    error = project.bench.store.folder(job.key).error()
    assert error is not None
    assert "does not fit the model: centers is missing" in error["message"]
    assert "head.weight is unknown" in error["message"]


def test_a_source_that_diverged_passes_that_on(project: Project, small: str) -> None:
    diverging = SOFTMAX + "[model.guard]\nloss_limit = 1e-9\nrestarts = 0\n"
    text = suite(diverging, switched("jem-2", "softmax"), rows='["jem-2"]')
    outcome = project.bench.run(project.suite(text), profile=small, in_process=True, device="cpu")
    assert outcome.exit_code() == 0
    states = {job.id: outcome.summary.states[job.key].state for job in outcome.plan.jobs}
    assert {state for name, state in states.items() if name != "softmax/digits/seed1/energies"} == {"diverged"}
    (table,) = project.bench.report(outcome.plan).tables
    assert {cell.reason for row in table.rows for cell in row.cells} == {
        "training diverged at epoch 1 after 0 restarts"
    }
