"""Pictures are decoded before the run takes a GPU, in processes, into the cache that its jobs read."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from bench import api
from bench.data.job import job_ood
from bench.execute import decoding
from bench.execute.decoding import decode, pictures_of
from bench.plan.jobs import Plan
from bench.plan.tasks import PredictTask
from tests.execute.conftest import CAPS, SMALL

ALBUM = """\
import os
from pathlib import Path

import numpy as np
from bench.data.decoded import decoded
from bench.data.spec import DatasetSpec, Split, always_found


def make():
    {action}
    with open({log!r}, "a") as file:
        file.write(f"{{os.getpid()}}\\n")
    return np.zeros((20, 1, 8, 8), np.uint8)


def load(root, *, like, image_shape, seed):
    return {{"test": Split.numbered(decoded("album-{name}", ["1"], make))}}


SPEC = DatasetSpec(
    name="{name}", summary="Pictures.", source="a test", license="none", num_classes=None, image_shape=(1, 8, 8),
    implementation="{name}:load", find=always_found, fingerprint="md5:0", version=1, decoded={decoded},
)
"""


@pytest.fixture
def albums(site: Any, project: Any, tmp_path: Path) -> Callable[..., Plan]:
    """Plans of a suite with sets of pictures outside of the distribution; whoever decodes them leaves its process id
    in ``tmp_path/log``.
    """

    def make(action: str = "pass", **sets: bool) -> Plan:
        for name, decoded in sets.items():
            site.module(name, ALBUM.format(action=action, log=str(tmp_path / "log"), name=name, decoded=decoded))
        listed = ", ".join(f'"{name}:SPEC"' for name in sets)
        text = SMALL.format(family="softmax", more="").replace('"patches"', listed)
        found: Plan = project.plan(text, profile=CAPS)
        return found

    return make


def decoders(tmp_path: Path) -> list[str]:
    log = tmp_path / "log"
    return log.read_text().split() if log.exists() else []


def test_each_set_is_decoded_once_and_by_another_process(albums: Callable[..., Plan], tmp_path: Path) -> None:
    plan = albums(holidays=True, weddings=True, drawings=False)
    assert [ood.dataset for _, ood in pictures_of(plan.jobs)] == ["holidays:SPEC", "weddings:SPEC"]
    told: list[list[str]] = []
    decode(plan.jobs, tmp_path, told.append)
    assert told == [["holidays:SPEC", "weddings:SPEC"]]
    first = decoders(tmp_path)
    assert len(first) == 2
    # What a job loads then comes from the cache.
    for job in plan.jobs:
        if isinstance(job.task, PredictTask) and job.task.ood is not None and "drawings" not in job.task.ood.dataset:
            assert len(job_ood(job.task.train.data, job.task.ood, tmp_path)) == 16
    decode(plan.jobs, tmp_path)
    assert decoders(tmp_path) == first


def test_without_pictures_nothing_is_said(albums: Callable[..., Plan], tmp_path: Path) -> None:
    def tell(names: list[str]) -> None:
        raise AssertionError(names)

    decode(albums(drawings=False).jobs, tmp_path, tell)


@pytest.mark.parametrize("action", ["raise ValueError('damaged')", "os._exit(7)"])
def test_what_goes_wrong_is_left_to_the_jobs(albums: Callable[..., Plan], tmp_path: Path, action: str) -> None:
    decode(albums(action, holidays=True).jobs, tmp_path)
    assert decoders(tmp_path) == []


@pytest.mark.parametrize(("device", "decodes"), [("cuda:0", True), ("cpu", False)])
def test_only_a_run_that_takes_a_gpu_decodes_before(
    albums: Callable[..., Plan], project: Any, monkeypatch: pytest.MonkeyPatch, device: str, decodes: bool
) -> None:
    whole = albums(holidays=True)
    order: list[str] = []
    monkeypatch.setattr(api, "decode", lambda jobs, root, tell: order.append("decoded"))
    monkeypatch.setattr(api.LOCAL, "slots", lambda request: [device], raising=False)

    def executor(*_: object) -> Any:
        order.append("executor")
        raise KeyboardInterrupt

    monkeypatch.setattr(api.LOCAL, "executor", executor, raising=False)
    with pytest.raises(KeyboardInterrupt):
        project.bench.run(whole.suite.path)
    assert order == (["decoded", "executor"] if decodes else ["executor"])


def test_an_interrupt_ends_what_is_being_decoded_and_begins_no_more(
    albums: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = albums("import time; time.sleep(60)", holidays=True, weddings=True, birthdays=True)
    monkeypatch.setattr(decoding, "cpu_cores", lambda: 2)
    seen: list[int] = []

    def interrupted(sentinels: list[int]) -> None:
        seen.extend(sentinels)
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "wait", interrupted)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        decode(plan.jobs, tmp_path)
    assert time.monotonic() - began < 30
    assert len(seen) == 2
    assert not [child for child in multiprocessing.active_children() if isinstance(child, SpawnProcess)]
    assert decoders(tmp_path) == []


def test_what_a_loader_prints_is_not_in_the_output_of_the_command(
    albums: Callable[..., Plan], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    decode(albums("print('a loader talks')", holidays=True).jobs, tmp_path)
    assert len(decoders(tmp_path)) == 1
    assert "talks" not in capfd.readouterr().out


def test_own_data_are_not_read_for_this(
    albums: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, *_ = [one for one in albums(holidays=True).jobs if isinstance(one.task, PredictTask) and one.task.ood]
    assert isinstance(job.task, PredictTask)
    assert job.task.ood is not None
    own = replace(job, task=replace(job.task, ood=replace(job.task.ood, dataset="/data/own.npz")))
    gone = replace(job, task=replace(job.task, ood=replace(job.task.ood, dataset="vanished:SPEC")))
    asked: list[str] = []
    find = decoding.find_dataset

    def noted(name: str, where: Path) -> Any:
        asked.append(name)
        return find(name, where)

    monkeypatch.setattr(decoding, "find_dataset", noted)
    assert [ood.dataset for _, ood in pictures_of([own, gone, job, job])] == ["holidays:SPEC"]
    assert asked == ["vanished:SPEC", "holidays:SPEC"]
