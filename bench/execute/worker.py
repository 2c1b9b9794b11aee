"""A worker: runs one job and writes its result to the store. The scheduler learns of the result only from the store.

A worker process has one thread on a CPU, runs one job and ends; it also ends if its parent ends.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.errors import DamagedFileError
from bench.execute import kinds
from bench.execute.context import Progress, Site, Work
from bench.execute.devices import check_cuda
from bench.execute.provenance import provenance
from bench.execute.states import own_status
from bench.files.atomic import write_json
from bench.plan.jobs import Job
from bench.store import LOG, JobFolder, Record, Store
from bench.store.folder import JOB

__all__ = ["GRACE", "HELD", "UNWRITABLE", "end_with_parent", "free_stdout", "main", "output_into", "run_job"]

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
    end_with_parent()
    free_stdout()  # for output outside of the job's log, such as while a plug-in is imported
    # The scheduler handles an interrupt from the terminal; it ends workers with SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    kinds.STOP.armed = True
    if kinds.uses_network(job.task):
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


def end_with_parent() -> None:
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


def run_job(job: Job, site: Site) -> bool:
    """Run ``job`` unless it has a result; write ``record.json``, or ``error.json`` with the traceback.

    Returns:
        False if nothing was done, because another process is at work on the job or has finished it.

    Raises:
        KeyboardInterrupt: The job was interrupted; if it makes checkpoints, it has written one.
        OSError: Neither a result nor a failure could be written, for example because the disk is full.
    """
    store = Store(site.store)
    folder = store.folder(job.key)
    with folder.lock(wait=False) as own:
        if not own:
            return False
        folder.sweep()
        # Another run may have finished the job since this one looked. Stale and damaged results are dropped only here:
        # only the holder of the lock may delete them.
        status = own_status(job, store)
        if status.settled:
            return False
        if status.state in ("stale", "damaged"):
            folder.forget()
        write_json(folder.file(JOB), job.as_json())
        # The output of the job goes to its log, not into the display or the JSON of the command.
        with output_into(folder.file(LOG)):
            try:
                _run(job, site, store, folder)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                print(traceback.format_exc(), file=sys.stderr)  # noqa: T201 - into the job's log
                if isinstance(error, DamagedFileError):
                    _distrust(error.path, store)
                folder.fail(
                    {
                        "job": job.id,
                        "type": type(error).__name__,
                        "message": _message(error),
                        "traceback": traceback.format_exc(),
                        "provenance": provenance(site.device, site.command).as_json(),
                    }
                )
    return True


def _message(error: BaseException) -> str:
    """The text of an error; its class if the text is empty or cannot be made."""
    try:
        return str(error) or type(error).__name__
    except Exception as other:  # `__str__` of a plug-in's exception may raise anything
        return f"{type(error).__name__}, whose text cannot be had: {type(other).__name__}"


def _distrust(path: Path, store: Store) -> None:
    """Mark the job that owns an unreadable file, so that the next check hashes all of its files."""
    folder = store.containing(path)
    if folder is not None:
        folder.distrust()


def _run(job: Job, site: Site, store: Store, folder: JobFolder) -> None:
    began = time.time()
    network = kinds.uses_network(job.task)
    if network:
        check_cuda(site.device)
    train = job.task.train
    record = Record(
        job=job.id,
        kind=job.kind,
        model=job.model,
        family=train.model.family,
        backbone=train.model.backbone,
        dataset=train.data.dataset,
        seed=job.seed,
        evaluation=job.evaluation,
        argument=job.argument,
        passes=job.passes,
    )
    work = Work(site, store, folder, Progress(folder), record)
    found, artefacts = kinds.run(job.task, work)
    whole = replace(
        found,
        seconds=round(time.time() - began, 3),
        finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        provenance=provenance(site.device if network else "none", site.command, site.share),
    )
    folder.finish(whole, artefacts)


def free_stdout() -> None:
    """Redirect the standard output of this process to standard error, from now on.

    Standard output belongs to the command, which may print JSON there.
    """
    with contextlib.suppress(OSError):  # standard error is closed: there is nowhere to write to
        os.dup2(2, 1)


@contextlib.contextmanager
def output_into(path: Path) -> Iterator[None]:
    """Redirect standard output and error to a file, which is overwritten; restore them when the context ends.

    C libraries and child processes write to descriptors 1 and 2, so the descriptors themselves are redirected.
    Characters that cannot be encoded are escaped.
    """
    with (
        # Line buffering keeps the output of Python and of others in the order in which it was written.
        path.open("w", encoding="utf-8", errors="backslashreplace", buffering=1) as file,
        _descriptors(file.fileno()),
        contextlib.redirect_stdout(file),
        contextlib.redirect_stderr(file),
    ):
        yield


@contextlib.contextmanager
def _descriptors(target: int) -> Iterator[None]:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # absent, closed, or without a reader
            stream.flush()
    kept = {}
    for number in (1, 2):
        with contextlib.suppress(OSError):  # closed: there is nothing to restore
            kept[number] = os.dup(number)
        os.dup2(target, number)
        os.set_inheritable(number, True)  # a file that took the number of a closed stream is not inheritable by default
    try:
        yield
    finally:
        for number in (1, 2):
            if number in kept:
                os.dup2(kept[number], number)
                os.close(kept[number])
            else:
                os.close(number)
