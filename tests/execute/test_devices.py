from __future__ import annotations

import pytest

from bench.errors import PrerequisiteError, RequestError
from bench.execute import devices
from bench.execute.devices import cpu_cores, gpu_count, slots


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int, cores: int = 4) -> None:
    monkeypatch.setattr(devices, "gpu_count", lambda: gpus)
    monkeypatch.setattr(devices, "cpu_cores", lambda: cores)


@pytest.mark.parametrize(
    ("device", "workers", "gpus", "expected"),
    [
        ("auto", None, 0, ["cpu"] * 4),
        ("auto", 2, 0, ["cpu"] * 2),
        ("auto", None, 2, ["cuda:0", "cuda:1"]),
        ("auto", 3, 2, ["cuda:0", "cuda:1", "cuda:0"]),
        ("auto", 1, 2, ["cuda:0"]),
        ("cpu", None, 2, ["cpu"] * 4),
        ("cpu", 1, 2, ["cpu"]),
        ("cuda", None, 1, ["cuda:0"]),
        ("cuda", 4, 2, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
    ],
)
def test_one_device_a_worker(
    monkeypatch: pytest.MonkeyPatch, device: str, workers: int | None, gpus: int, expected: list[str]
) -> None:
    machine(monkeypatch, gpus)
    assert slots(device, workers) == expected


def test_a_gpu_that_is_not_there_is_no_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 0)
    with pytest.raises(PrerequisiteError, match="no CUDA device is visible") as error:
        slots("cuda", None)
    assert error.value.exit_code == 5


@pytest.mark.parametrize("workers", [0, -1])
def test_no_worker_is_refused(workers: int) -> None:
    with pytest.raises(RequestError, match=f"--workers is {workers}, expected at least 1"):
        slots("cpu", workers)


@pytest.mark.parametrize(
    ("visible", "expected"), [("0", 1), ("0,1", 2), ("", 0), ("-1", 0), ("GPU-8932f937,GPU-1", 2), (" 3 , ", 1)]
)
def test_visible_gpus(monkeypatch: pytest.MonkeyPatch, visible: str, expected: int) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_count() == expected


def test_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert cpu_cores() == 2
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cpu_cores() == 1
