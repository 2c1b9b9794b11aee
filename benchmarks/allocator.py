"""The allocator settings of the harness's workers, for all measured variants, so that page faults do not differ."""

from __future__ import annotations

import os
import sys

__all__ = ["restart_with_settings"]

SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
}


def restart_with_settings(**more: str) -> None:
    """Restart this process with the settings and further environment variables, unless it has them.

    The C library reads the settings when a process starts.
    """
    wanted = {**SETTINGS, **more}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
