"""``bench show``: what one job left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import RequestError
from bench.execute.states import Status
from bench.report.job import FoundJob, find_job, job_text

if TYPE_CHECKING:
    from tests.conftest import Project, Results

TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nValueError: no'


def found(project: Project, name: str) -> FoundJob:
    return find_job(project.bench, name, "tiny", None)


def test_a_job_that_has_no_meaning_says_so(project: Project) -> None:
    """It was called pending, as if it would still come."""
    project.suite()
    job = found(project, "softmax/digits/seed1/generation")
    assert job.status == Status("n/a", "softmax does not generate")
    assert job.because == ()
    assert job_text(job).splitlines()[0] == "softmax/digits/seed1/generation: n/a (softmax does not generate)"


def test_a_traceback_is_shown_once(project: Project, results: Results) -> None:
    """The worker leaves it in the error and in the log."""
    train = project.plan().jobs[0]
    folder = results.store.folder(train.key)
    folder.fail({"type": "ValueError", "message": "no", "traceback": f"{TRACEBACK}\n"})
    folder.file("log.txt").write_text(f"epoch 1\n{TRACEBACK}\n\n", encoding="utf-8")
    text = job_text(found(project, train.id))
    assert text.startswith(f"{train.id}: failed (ValueError: no)\n")
    assert text.count("Traceback") == 1
    assert text.endswith("log:\nepoch 1")
    folder.file("log.txt").write_text(f"{TRACEBACK}\n", encoding="utf-8")
    assert "log:" not in job_text(found(project, train.id))


def test_what_never_ran_names_the_job_that_is_the_reason(project: Project, results: Results) -> None:
    plan = project.plan()
    results.store.folder(plan.jobs[0].key).fail({"type": "ValueError", "message": "no", "traceback": TRACEBACK})
    job = found(project, "softmax/digits/seed1/accuracy")  # its inputs are training, and predictions that need it
    assert job.because == ("softmax/digits/seed1/train",)
    assert job_text(job).splitlines()[:2] == [
        "softmax/digits/seed1/accuracy: failed (an input failed: ValueError: no)",
        "because of softmax/digits/seed1/train; bench show softmax/digits/seed1/train",
    ]
    assert found(project, plan.jobs[0].id).because == ()


def test_by_the_beginning_of_its_key(project: Project, results: Results) -> None:
    plan = project.plan()
    train = plan.jobs[0]
    results.finish(train)
    with pytest.raises(RequestError, match="has no job"):
        found(project, train.key[:5])
    assert found(project, train.key[:6]).id == train.id
    # Without any suite the files alone speak.
    alone = find_job(project.bench, train.key[:10], None, None)
    assert (alone.id, alone.status) == (train.key[:10], Status("done"))
    with pytest.raises(RequestError, match="no suite was run yet"):
        find_job(project.bench, train.id, None, None)


def test_a_misspelt_job(project: Project) -> None:
    project.suite()
    with pytest.raises(RequestError, match="did you mean 'softmax/digits/seed1/train'"):
        found(project, "softmx/digits/seed1/train")


def test_where_a_result_came_from_is_a_line_for_each_fact(project: Project, results: Results) -> None:
    train = project.plan().jobs[0]
    results.finish(
        train, provenance={"device": "cpu", "cpu_capability": "AVX2", "versions": {"torch": "2", "bench": "1"}}
    )
    text = job_text(found(project, train.id))
    start = text.index("provenance:\n")
    assert text[start:].splitlines()[1:] == ["  cpu capability: AVX2", "  device: cpu", "  versions: bench 1, torch 2"]
