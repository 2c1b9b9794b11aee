"""Which devices jobs may use. Looked up without torch: a finished run imports none."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bench.errors import PrerequisiteError, RequestError

__all__ = ["cpu_cores", "gpu_count", "slots"]


def gpu_count() -> int:
    """NVIDIA GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([item for item in visible.split(",") if item.strip() not in ("", "-1")])
    return len([path for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)])


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
        raise PrerequisiteError("no CUDA device is visible; use --device cpu, or auto to use one where there is one")
    if device == "cpu" or gpus == 0:
        # One thread each: small layers gain nothing from more, and threads beyond the cores get in each other's way.
        return ["cpu"] * (workers or cpu_cores())
    return [f"cuda:{index % gpus}" for index in range(workers or gpus)]
