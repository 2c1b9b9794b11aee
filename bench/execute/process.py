"""A worker process. It runs one job, with one thread on a CPU, and ends; it also ends if its parent ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time

from bench.execute import redirect, training
from bench.execute.context import Site
from bench.execute.worker import run_job, uses_network
from bench.plan.jobs import Job

__all__ = ["GRACE", "HELD", "UNWRITABLE", "main"]

INTERRUPTED = 130
UNWRITABLE = 74
"""Exit code of a worker that could write neither a result nor an error."""
HELD = 75
"""Exit code of a worker that did nothing because another process is at work on the job or has finished it."""
LOOK_EVERY = 0.5
"""Seconds between two checks whether the server that a worker was forked from still runs."""
GRACE = 60.0
"""Seconds that a worker has to end by itself: training finishes its iteration and may write a buffer of a gigabyte."""


def main(job: Job, site: Site) -> None:
    """Entry of a worker process."""
    _end_with_parent()
    redirect.free_stdout()  # for output outside of the job's log, such as while a plug-in is imported
    # The scheduler handles an interrupt from the terminal; it ends workers with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    training.STOP.armed = True
    if uses_network(job.task):
        import torch

        if site.device == "cpu":
            torch.set_num_threads(1)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    try:
        began = run_job(job, site)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError:
        sys.exit(UNWRITABLE)
    if not began:
        sys.exit(HELD)


def _end_with_parent() -> None:
    """End this process when the command that started it ends, or the server that it was forked from, which tells the
    command how it ended. Without them nobody would collect its result, and it would keep its device and its lock.
    SIGTERM lets training save a checkpoint; SIGKILL follows after ``GRACE`` seconds.
    """
    parent, server = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return

    def watch() -> None:
        while parent.is_alive() and os.getppid() == server:
            parent.join(LOOK_EVERY)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
