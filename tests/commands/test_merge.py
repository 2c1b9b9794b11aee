"""Results of two machines in one store: verified, nothing replaced, nothing of other weights."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.commands.merge import merge, other_store
from bench.errors import NothingSelectedError, RequestError
from bench.files.atomic import write_json
from bench.store import ITEMS, Store
from tests.cli.conftest import bench as command
from tests.conftest import planned

if TYPE_CHECKING:
    from bench.plan.jobs import Plan
    from tests.conftest import Project, Results

TRAIN, ACCURACY = "softmax/digits/seed1/train", "softmax/digits/seed1/accuracy"


@pytest.fixture
def plan(project: Project, tiny: str) -> Plan:
    return project.plan(tiny)


@pytest.fixture
def theirs(plan: Plan, results: Results, project: Project, tmp_path: Path) -> Path:
    """The results folder of another machine, which trained a model and measured its accuracy; ours is empty."""
    train, accuracy = planned(plan, TRAIN), planned(plan, ACCURACY)
    results.finish(train)
    correct = {"accuracy": np.arange(100) < 75}
    results.measure(plan, accuracy, {"accuracy": 0.75}, correct=correct)
    folder = results.store.folder(accuracy.key)
    record = folder.record()
    assert record is not None
    folder.finish(record, [ITEMS])
    for job in (train, accuracy):
        write_json(results.store.folder(job.key).file("job.json"), job.as_json())
    return Path(shutil.move(project.results, tmp_path / "theirs"))


def outcomes(store: Store, other: Path, **options: bool) -> Counter[str]:
    return Counter(one.outcome for one in merge(store, other_store(other), **options))


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("lock", "checked.json")
    }


def test_what_is_missing_is_copied_to_the_byte(plan: Plan, theirs: Path, project: Project) -> None:
    store = project.bench.store
    before = content(theirs)
    assert outcomes(store, theirs, dry=True) == {"taken": 2}
    assert list(store.folders()) == []
    assert outcomes(store, theirs) == {"taken": 2}
    assert content(theirs) == before
    assert content(store.root) == content(theirs / "store")
    assert {status.state for key, status in project.bench.states(plan).items() if store.folder(key).record()} == {
        "done"
    }
    assert outcomes(store, theirs / "store") == {"same": 2}


def test_a_result_that_is_here_stays(plan: Plan, theirs: Path, project: Project, results: Results) -> None:
    results.finish(planned(plan, TRAIN), weights="w2")
    store = project.bench.store
    found = {one.job: one for one in merge(store, other_store(theirs))}
    assert found[TRAIN].outcome == "kept"
    # What the others measured, they measured with their weights.
    assert found[ACCURACY].outcome == "outdated"
    assert "w1" in found[ACCURACY].why
    assert "w2" in found[ACCURACY].why
    record = store.folder(planned(plan, TRAIN).key).record()
    assert record is not None
    assert record.weights == "w2"
    assert store.folder(planned(plan, ACCURACY).key).record() is None


def test_damaged_results_stay_behind(plan: Plan, theirs: Path, project: Project) -> None:
    key = planned(plan, ACCURACY).key
    folder = Store(theirs / "store").folder(key)
    (name,) = folder.artefacts()
    folder.file(name).write_bytes(b"other")
    found = {one.job: one for one in merge(project.bench.store, other_store(theirs))}
    assert found[ACCURACY].outcome == "damaged"
    assert name in found[ACCURACY].why
    assert found[TRAIN].outcome == "taken"
    assert project.bench.store.folder(key).record() is None
    assert command("store", "merge", str(theirs)).exit_code == 1


def test_a_damaged_result_here_is_replaced(plan: Plan, theirs: Path, project: Project) -> None:
    store = project.bench.store
    assert outcomes(store, theirs) == {"taken": 2}
    folder = store.folder(planned(plan, ACCURACY).key)
    folder.file(next(iter(folder.artefacts()))).write_bytes(b"other")
    assert outcomes(store, theirs) == {"taken": 1, "same": 1}
    assert folder.damage(thorough=True) is None


def test_a_job_that_runs_here_is_left_alone(plan: Plan, theirs: Path, project: Project) -> None:
    folder = project.bench.store.folder(planned(plan, TRAIN).key)
    with folder.lock(wait=False) as own:
        assert own
        found = {one.job: one.outcome for one in merge(project.bench.store, other_store(theirs))}
    assert found[TRAIN] == "busy"
    assert folder.record() is None


def test_failures_and_unfinished_jobs_stay_behind(plan: Plan, theirs: Path, project: Project) -> None:
    other = Store(theirs / "store").folder("ab" + "0" * 30)
    other.path.mkdir(parents=True)
    other.fail({"type": "ValueError", "message": "no"})
    assert outcomes(project.bench.store, theirs) == {"taken": 2}
    assert not project.bench.store.folder(other.key).path.exists()


def test_wrong_folders(project: Project, theirs: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RequestError, match="holds no results"):
        other_store(empty)
    (empty / "store" / "ab" / "abc").mkdir(parents=True)
    with pytest.raises(NothingSelectedError, match="no finished result"):
        list(merge(project.bench.store, other_store(empty)))
    with pytest.raises(RequestError, match="is this store itself"):
        list(merge(Store(theirs / "store"), other_store(theirs)))


def test_the_command_says_what_became_of_each(theirs: Path) -> None:
    done = command("store", "merge", str(theirs), "--json")
    assert done.exit_code == 0
    assert json.loads(done.output)["counts"] == {"taken": 2}
    assert "2 were here already" in command("store", "merge", str(theirs)).output
