from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import PrerequisiteError, RequestError
from bench.execute import devices
from bench.execute.devices import check_cuda, cpu_cores, gpu_count, slots, visible_gpus


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


ONE, TWO = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1a2b3c4d-0000-4106-c12f-20bd9faed9f6"


def files(
    monkeypatch: pytest.MonkeyPatch, root: Path, gpus: int, *, visible: str | None = None, uuids: tuple[str, ...] = ()
) -> None:
    """A machine with device files of so many GPUs, and a driver that tells their identifiers."""
    (root / "dev").mkdir()
    for name in ["null", "nvidiactl", "nvidia-uvm", "nvidia-caps", *(f"nvidia{index}" for index in range(gpus))]:
        (root / "dev" / name).touch()
    for index, uuid in enumerate(uuids):
        folder = root / "driver" / f"0000:{index:02}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t NVIDIA\nIRQ:   \t\t 1\nGPU UUID: \t {uuid}\nVideo BIOS: 9\n")
    monkeypatch.setattr(devices, "_DEVICES", root / "dev")
    monkeypatch.setattr(devices, "_DRIVER", root / "driver")
    monkeypatch.setattr(devices, "_only_for_cpus", lambda: False)
    monkeypatch.delenv("NVIDIA_VISIBLE_DEVICES", raising=False)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, 4),
        ("0", 1),
        ("0,1", 2),
        (" 3 , ", 1),
        ("3,1", 2),
        ("", 0),
        ("-1", 0),
        ("0,-1,1", 1),
        ("-1,0", 0),
        ("NoDevFiles", 0),
        ("none", 0),
        ("void", 0),
        ("all", 0),
        ("1,x,2", 1),
        ("0,4", 1),
        ("4", 0),
        ("99999999999999999999", 0),
        ("0,,1", 1),
        (",0", 0),
        ("0,1,0", 0),
        ("1,01", 0),
        ("+2", 1),
        ("1gpu,2gpu", 2),
        ("0 1", 1),
        ("0,GPU-1a2b3c4d", 1),
        ("GPU-1a2b3c4d,0", 1),
    ],
)
def test_visible_gpus_are_those_that_cuda_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None, expected: int
) -> None:
    files(monkeypatch, tmp_path, 4, visible=visible)
    assert gpu_count() == expected


@pytest.mark.parametrize(
    "visible", ["0", "0,1", " 3 , ", "", "-1", "0,-1,1", "NoDevFiles", "none", "1,x,2", "0,,1", "0,1,0", "1gpu,2gpu"]
)
def test_torch_reads_the_list_alike(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    """What torch makes of it, for lists whose ordinals exist."""
    import torch

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [int(name) for name in visible_gpus(visible, 8)] == torch.cuda._parse_visible_devices()


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (ONE, 1),
        (f"{ONE},{TWO}", 2),
        ("GPU-8932", 1),
        ("GPU-8932,GPU-1a", 2),
        ("GPU-ffff", 0),
        (f"{ONE},GPU-ffff,{TWO}", 1),
        ("GPU-", 0),  # the beginning of both
        (f"{ONE},GPU-8932", 0),
        (f"{ONE},{ONE}", 0),
        ("MIG-71aa1b4e-3ba9-55d8-b2b8-0a1b2c3d4e5f", 1),
        ("MIG-71aa1b4e-3ba9-55d8-b2b8-0a1b2c3d4e5f,MIG-81aa1b4e-3ba9-55d8-b2b8-0a1b2c3d4e5f", 1),
        ("MIG-GPU-8932f937/1/0", 0),
        (f"MIG-71aa1b4e,{ONE}", 1),
        ("gpu-8932", 0),
    ],
)
def test_gpus_by_their_identifiers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str, expected: int
) -> None:
    files(monkeypatch, tmp_path, 2, visible=visible, uuids=(ONE, TWO))
    assert gpu_count() == expected


def test_identifiers_that_the_driver_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files(monkeypatch, tmp_path, 2, visible="GPU-8932f937,GPU-1", uuids=("GPU-????????-????", TWO))
    assert gpu_count() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-no such")
    assert gpu_count() == 0


@pytest.mark.parametrize("visible", [None, "0", "0,1", ONE, "MIG-71aa1b4e"])
def test_without_device_files_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None
) -> None:
    """As in a container that was given none, whatever its variables say."""
    files(monkeypatch, tmp_path, 0, visible=visible)
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "void")
    assert gpu_count() == 0
    assert slots("auto", 1) == ["cpu"]


def test_void_does_not_hide_gpus_that_are_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Containers get their devices without the runtime's variable, too; it is then void."""
    files(monkeypatch, tmp_path, 2)
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "void")
    assert gpu_count() == 2


def test_who_hides_gpus_that_are_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files(monkeypatch, tmp_path, 2, visible="NoDevFiles")
    assert slots("auto", 1) == ["cpu"]
    with pytest.raises(PrerequisiteError, match="is 'NoDevFiles', which names none of the 2 there are"):
        slots("cuda", None)


def test_a_torch_for_cpus_has_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files(monkeypatch, tmp_path, 2)
    monkeypatch.setattr(devices, "_only_for_cpus", lambda: True)
    assert gpu_count() == 0
    assert slots("auto", 1) == ["cpu"]
    with pytest.raises(PrerequisiteError, match=r"there are 2, but torch .* was built for CPUs alone"):
        slots("cuda", None)


@pytest.mark.parametrize(("version", "expected"), [("2.9.0+cpu", True), ("2.9.0+cu128", False), ("2.9.0", False)])
def test_what_torch_was_built_for_is_in_its_version(
    monkeypatch: pytest.MonkeyPatch, version: str, expected: bool
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    assert devices._only_for_cpus() is expected


def test_cuda_that_does_not_start_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def empty(*_: object, **__: object) -> None:
        raise RuntimeError("No CUDA GPUs are available\nmore")

    check_cuda("cpu")
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    check_cuda("cpu")
    with pytest.raises(
        PrerequisiteError, match=r"^cuda:0 cannot be used: No CUDA GPUs are available \(CUDA_VISIB"
    ) as e:
        check_cuda("cuda:0")
    assert "CUDA_VISIBLE_DEVICES is '7'; torch " in str(e.value)
    assert "run with --device cpu" in str(e.value)


def test_cores_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert cpu_cores() == 2
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cpu_cores() == 1
