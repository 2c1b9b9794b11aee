"""The devices that jobs may use. They are found without torch, so that a command with nothing to run imports none."""

from __future__ import annotations

import os
import re
from importlib import metadata
from pathlib import Path

from bench.errors import PrerequisiteError, RequestError

__all__ = ["check_cuda", "cpu_cores", "gpu_count", "slots", "visible_gpus"]

_DEVICES = Path("/dev")
_DRIVER = Path("/proc/driver/nvidia/gpus")
_WSL = ("dxg", Path("/usr/lib/wsl/lib/libcuda.so.1"))
"""In the Windows Subsystem for Linux: device file and driver of a GPU; they do not tell how many GPUs there are."""


def gpu_count() -> int:
    """Number of NVIDIA GPUs that this process may use, as CUDA and torch count them.

    These are the GPUs of the machine or container without those that ``CUDA_VISIBLE_DEVICES`` hides; 0 if torch was
    built for CPUs alone. ``NVIDIA_VISIBLE_DEVICES`` is not read: a GPU that a container does not have has no device
    file in it, and the variable is ``void`` both without GPUs and where they were given in another way.
    """
    present = 0 if _only_for_cpus() else _present()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if visible is None else len(visible_gpus(visible, present, _uuids()))


def visible_gpus(visible: str, present: int, uuids: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The entries of ``CUDA_VISIBLE_DEVICES`` that name a GPU, as CUDA reads them.

    The value is a list of ordinals, or of identifiers that begin with ``GPU-`` (a unique prefix suffices) or with
    ``MIG-``, of which a process uses only the first. The first entry that names no GPU ends the list: -1,
    ``NoDevFiles`` and ``void`` therefore mean that there is no GPU. A GPU named twice makes the list empty.

    Args:
        visible: The value of the variable.
        present: Number of GPUs present.
        uuids: Identifiers of the GPUs; empty if they are unknown: then every well-formed identifier counts.

    Source: CUDA C++ Programming Guide, "CUDA environment variables"; ``torch.cuda._parse_visible_devices``.
    """
    if not present:
        return ()
    found: list[str] = []
    for entry in (text.strip() for text in visible.split(",")):
        if entry.startswith(("GPU-", "MIG-")):
            kind, name = entry[:4], entry
            if found and not found[0].startswith(kind):
                break
            if kind == "GPU-" and uuids:
                matching = [uuid for uuid in uuids if uuid.startswith(entry)]
                if len(matching) != 1:
                    break
                name = matching[0]
            elif not re.fullmatch(r"[0-9a-fA-F/-]+", entry[4:]):
                break
        else:
            number = re.match(r"\+?\d+", entry)  # characters after the digits are ignored, as by strtoul
            if number is None or int(number[0]) >= present or (found and not found[0].isdigit()):
                break
            name = str(int(number[0]))
        if name in found:
            return ()
        found.append(name)
    return tuple(found[:1] if found and found[0].startswith("MIG-") else found[:present])


def _present() -> int:
    """Number of GPUs with a device file, including those that a variable hides."""
    try:
        names = [path.name for path in _DEVICES.iterdir()]
    except OSError:
        return 0
    count = sum(re.fullmatch(r"nvidia\d+", name) is not None for name in names)
    return count or int(_WSL[0] in names and _WSL[1].exists())


def _only_for_cpus() -> bool:
    """Whether the version of the installed torch says that it was built for CPUs alone, as 2.9.0+cpu does."""
    try:
        return metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


def _uuids() -> tuple[str, ...]:
    """Identifiers of the GPUs from the driver's files; empty if they cannot be read."""
    found = []
    for path in sorted(_DRIVER.glob("*/information")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ()
        match = re.search(r"^GPU UUID:\s*(GPU-\S+)$", text, re.MULTILINE)
        if match is None or "?" in match[1]:
            return ()
        found.append(match[1])
    return tuple(found)


def check_cuda(device: str) -> None:
    """Start CUDA if the device is a GPU, and begin to count the memory that the job holds.

    Args:
        device: ``"cpu"`` or ``"cuda:<i>"``.

    Raises:
        PrerequisiteError: CUDA does not start; the message gives the reason and says what to do.
    """
    if not device.startswith("cuda"):
        return
    import torch

    try:
        torch.empty(1, device=device).zero_()
        torch.cuda.empty_cache()  # of an earlier job in this process
        torch.cuda.reset_peak_memory_stats(device)
    except (RuntimeError, AssertionError) as error:  # torch raises these without CUDA, a driver, or this GPU
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        told = "not set" if visible is None else repr(visible)
        raise PrerequisiteError(
            f"{device} cannot be used: {reason} (CUDA_VISIBLE_DEVICES is {told}; torch {torch.__version__} was built "
            f"for {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'no CUDA'}); run with --device cpu, or look "
            "at the driver: nvidia-smi"
        ) from None


def cpu_cores() -> int:
    """Number of cores that this process may use; in a container these can be fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this platform
        return os.cpu_count() or 1


def slots(device: str, workers: int | None) -> list[str]:
    """The devices of the workers, one entry per worker.

    Args:
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        workers: How many jobs run at once; None for one per GPU, or one per core without a GPU.

    Raises:
        PrerequisiteError: A GPU was asked for and there is none.
        RequestError: Fewer than one worker.
    """
    if workers is not None and workers < 1:
        raise RequestError(f"--workers is {workers}, expected at least 1")
    gpus = gpu_count()
    if device == "cuda" and gpus == 0:
        told = f"no CUDA device is visible{_why()}"
        raise PrerequisiteError(f"{told}; use --device cpu, or auto to use one where there is one")
    if device == "cpu" or gpus == 0:
        # One thread each: small layers gain nothing from more, and threads beyond the cores get in each other's way.
        return ["cpu"] * (workers or cpu_cores())
    return [f"cuda:{index % gpus}" for index in range(workers or gpus)]


def _why() -> str:
    """Why the GPUs present cannot be used, in parentheses; empty if there are none or the reason is unknown."""
    present, visible = _present(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if present and _only_for_cpus():
        return f" (there are {present}, but torch {metadata.version('torch')} was built for CPUs alone)"
    if not present or visible is None:
        return ""
    return f" (CUDA_VISIBLE_DEVICES is {visible!r}, which names none of the {present} there are)"
