"""Where a number came from: versions, machine, command. Every result records it; it is never part of a key."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.store import Provenance

__all__ = ["command", "provenance"]

_PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow"),
    *("torchattacks", "foolbox", "pytorch-fid"),
    *("imagecorruptions-imaug", "opencv-python", "scikit-image", "numba"),
)
"""Packages whose version can change a number: arithmetic, statistical tests, data sets, image decoding, attacks,
corruptions.
"""


def command() -> str:
    """The command line of this process."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("gmmc-bench", *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def _revision() -> dict[str, Any] | None:
    """Commit of the harness and whether it was edited since; None if it does not run from a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        words = ["git", "-C", str(root), *arguments]
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "edited": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def provenance(device: str, ran: str, share: float = 1.0) -> Provenance:
    """Versions, machine and device of this process.

    Args:
        device: The torch device that the job used, or ``"none"`` for a job that needs no network.
        ran: The command that the user typed.
        share: The part of the device's memory that the job was allowed to plan with.
    """
    facts: dict[str, Any] = {}
    torch = sys.modules.get("torch")
    if torch is not None:
        facts["threads"] = torch.get_num_threads()
        facts["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
        if device.startswith("cuda"):
            # If CUDA does not start, the job reports that error; none may be raised here.
            with contextlib.suppress(RuntimeError, AssertionError):
                facts["device_name"] = torch.cuda.get_device_name(device)
                facts["cuda"] = torch.version.cuda
                facts["cudnn"] = torch.backends.cudnn.version()
                facts["device_memory"] = torch.cuda.get_device_properties(device).total_memory
                facts["peak_memory"] = torch.cuda.max_memory_reserved(device)
                facts["memory_share"] = share
            facts["tf32"] = bool(torch.backends.cuda.matmul.allow_tf32)
    machine = {"system": platform.system(), "machine": platform.machine(), "cores": os.cpu_count()}
    return Provenance(versions=_versions(), harness=_revision(), command=ran, machine=machine, device=device, **facts)
