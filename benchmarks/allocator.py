"""The allocator settings of the harness's workers, for every way that is measured: page faults are no difference."""

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
    """Start this process anew with the settings, and with further environment variables, unless it has them.

    The C library reads them when a process starts.
    """
    wanted = {**SETTINGS, **more}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})
