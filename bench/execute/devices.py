"""Which devices jobs may use. Looked up without torch: a finished run imports none."""

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
"""Windows shows a GPU under another name, and does not say how many."""


def gpu_count() -> int:
    """NVIDIA GPUs that this process may use, as CUDA and torch count them: those that the machine or container has,
    less what ``CUDA_VISIBLE_DEVICES`` hides; none for a torch that was built for CPUs alone.

    What is not given to a container has no device file, so its ``NVIDIA_VISIBLE_DEVICES`` says nothing further: it is
    ``void`` both without GPUs and where they were given in another way.
    """
    present = 0 if _only_for_cpus() else _present()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if visible is None else len(visible_gpus(visible, present, _uuids()))


def visible_gpus(visible: str, present: int, uuids: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The entries of ``CUDA_VISIBLE_DEVICES`` that name a GPU, as CUDA reads them.

    A list of ordinals, or of identifiers that begin with ``GPU-`` (an abbreviation will do where it is unique) or with
    ``MIG-``, of which CUDA uses one in a process. The first entry that names none ends the list: -1, ``NoDevFiles`` and
    ``void`` therefore mean that there is no GPU. A GPU named twice makes the list empty.

    Args:
        visible: The value of the variable.
        present: GPUs that there are.
        uuids: Their identifiers; empty if they are not known, then every well-formed one counts.

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
            number = re.match(r"\+?\d+", entry)  # what follows the digits is passed over, as by strtoul
            if number is None or int(number[0]) >= present or (found and not found[0].isdigit()):
                break
            name = str(int(number[0]))
        if name in found:
            return ()
        found.append(name)
    return tuple(found[:1] if found and found[0].startswith("MIG-") else found[:present])


def _present() -> int:
    """GPUs with a device file, whether hidden by a variable or not."""
    try:
        names = [path.name for path in _DEVICES.iterdir()]
    except OSError:
        return 0
    count = sum(re.fullmatch(r"nvidia\d+", name) is not None for name in names)
    return count or int(_WSL[0] in names and _WSL[1].exists())


def _only_for_cpus() -> bool:
    """Whether the installed torch says in its version that it knows no GPU, as in 2.9.0+cpu."""
    try:
        return metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


def _uuids() -> tuple[str, ...]:
    """Identifiers of the GPUs as the driver tells them, or none if it does not."""
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
    """Start CUDA where a job is to use it.

    Args:
        device: ``"cpu"`` or ``"cuda:<i>"``.

    Raises:
        PrerequisiteError: It does not start, with the reason, and what to do.
    """
    if not device.startswith("cuda"):
        return
    import torch

    try:
        torch.empty(1, device=device).zero_()
    except (RuntimeError, AssertionError) as error:  # what torch raises where it has no CUDA, no driver, no such GPU
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        told = "not set" if visible is None else repr(visible)
        raise PrerequisiteError(
            f"{device} cannot be used: {reason} (CUDA_VISIBLE_DEVICES is {told}; torch {torch.__version__} was built "
            f"for {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'no CUDA'}); run with --device cpu, or look "
            "at the driver: nvidia-smi"
        ) from None


def cpu_cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this platform
        return os.cpu_count() or 1


def slots(device: str, workers: int | None) -> list[str]:
    """One device per worker.

    Args:
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        workers: How many jobs at once; None for one per GPU, or one per core.

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
    """Why GPUs that are there cannot be used."""
    present, visible = _present(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if present and _only_for_cpus():
        return f" (there are {present}, but torch {metadata.version('torch')} was built for CPUs alone)"
    if not present or visible is None:
        return ""
    return f" (CUDA_VISIBLE_DEVICES is {visible!r}, which names none of the {present} there are)"
