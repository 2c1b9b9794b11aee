"""The queue of Slurm as `squeue` tells it. Accounting (`sacct`) is not asked: many clusters have none."""

from __future__ import annotations

import getpass
import re
import subprocess
import time
import warnings
from collections.abc import Iterable

from bench.errors import PrerequisiteError

__all__ = ["ACTIVE", "Queue", "cancel"]

ACTIVE = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
    | {"REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD", "PREEMPTED"}
)
"""States of jobs that Slurm has not ended for good."""
_PATIENCE = 60.0


class Queue:
    """States of this user's jobs, asked of Slurm at most every ``poll`` seconds."""

    def __init__(self, poll: float) -> None:
        self._poll = poll
        self._states: dict[str, str] | None = None
        self._asked = -1e9
        self._silent = False

    def states(self, *, now: bool = False) -> dict[str, str] | None:
        """State by job id, such as ``RUNNING`` by ``12_3``; jobs that ended stay for minutes and then are missing.

        Args:
            now: Ask at once.

        Returns:
            None if Slurm does not answer; jobs go on meanwhile.

        Raises:
            PrerequisiteError: There is no ``squeue``.
        """
        if not now and time.monotonic() - self._asked < self._poll:
            return self._states
        self._states = self._ask()
        self._asked = time.monotonic()
        return self._states

    def _ask(self) -> dict[str, str] | None:
        command = ["squeue", "--noheader", "--array", "--states=all", f"--user={getpass.getuser()}", "--format=%i %T"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
        except FileNotFoundError:
            raise PrerequisiteError(
                "no program squeue: --on slurm works where jobs are submitted, such as a login node"
            ) from None
        except (subprocess.SubprocessError, OSError) as error:
            if not self._silent:
                said = str(getattr(error, "stderr", None) or error).strip()
                warnings.warn(f"Slurm does not answer ({said}); asking again", stacklevel=2)
            self._silent = True
            return None
        self._silent = False
        found = (line.split() for line in done.stdout.splitlines())
        return {words[0]: words[1] for words in found if len(words) == 2 and re.fullmatch(r"\d+(_\d+)?", words[0])}


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs; those that have ended do not matter.

    Raises:
        PrerequisiteError: Slurm refused or did not answer.
    """
    wanted = sorted(ids)
    if not wanted:
        return
    try:
        subprocess.run(["scancel", *wanted], capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        said = str(getattr(error, "stderr", None) or error).strip()
        raise PrerequisiteError(f"the jobs could not be cancelled: {said}; scancel {' '.join(wanted)}") from None
