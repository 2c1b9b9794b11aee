"""Executors: ways to run jobs. They do not affect results: workers write to the store, and the scheduler reads it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from bench.execute.context import Site
from bench.execute.memory import Memory
from bench.execute.times import Took, finished_jobs
from bench.execute.worker import GRACE, HELD, UNWRITABLE, main, run_job
from bench.plan.jobs import Job
from bench.store import Store

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

__all__ = ["PERHAPS_MEMORY", "Ended", "Executor", "InProcess", "Pool", "Selective", "hidden_main", "signals_later"]

_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # By default glibc returns freed memory to the system at once; allocating it again costs page faults, which slows
    # attacks on the CPU.
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    # Deterministic cuBLAS, and no busy waiting, which would take a core from another worker.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "OMP_WAIT_POLICY": "PASSIVE",
}
_PRELOAD = [
    "torch",
    "safetensors.torch",
    "sklearn.datasets",
    "bench.execute.worker",
    "bench.evaluate.catalogue",
]


@dataclass(frozen=True)
class Ended:
    """A job that is no longer running.

    Attributes:
        job: The job.
        died: How its process ended, if it did not end normally.
        held: Whether it never began, because another run holds its lock or has finished it.
        shared: Whether other jobs shared memory with it while it ran.
    """

    job: Job
    died: str | None = None
    held: bool = False
    shared: bool = False


class Executor(Protocol):
    """Runs jobs, ``capacity`` of them at once."""

    @property
    def capacity(self) -> int:
        """How many jobs may run at once."""
        ...

    def start(self, job: Job) -> None:
        """Start a job."""
        ...

    def ended(self, timeout: float) -> list[Ended]:
        """The jobs that ended since the last call; waits at most ``timeout`` seconds for the first."""
        ...

    def stop(self) -> None:
        """End all jobs at once; their checkpoints stay."""
        ...


@runtime_checkable
class Selective(Protocol):
    """An executor that may have no room for some jobs while others run."""

    def admits(self, job: Job) -> bool:
        """Whether a job may start now, if fewer than ``capacity`` run; always true if none runs."""
        ...


class InProcess:
    """Runs one job after the other in this process, for tests and debuggers."""

    capacity = 1

    def __init__(self, site: Site) -> None:
        self._site = site
        self._ended: list[Ended] = []

    def start(self, job: Job) -> None:
        """Run the job to its end, with as many threads as a worker has: their number changes the last bits."""
        import torch

        before = torch.get_num_threads()
        if self._site.device == "cpu":
            torch.set_num_threads(1)
        try:
            self._ended.append(Ended(job, held=not run_job(job, self._site)))
        except OSError as error:
            self._ended.append(Ended(job, f"{_UNWRITABLE} ({error})"))
        finally:
            torch.set_num_threads(before)

    def ended(self, timeout: float) -> list[Ended]:  # noqa: ARG002 - nothing to wait for
        """The jobs that ran since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        """Do nothing: ``start`` returns when its job has ended."""


class Pool:
    """Runs each job in a process of its own, forked from a server that has imported torch, so that no job waits for it.

    A process that dies ends only its own job.

    Args:
        site: Where jobs run; each job gets a free device in place of the site's.
        devices: One entry per worker.
    """

    def __init__(self, site: Site, devices: list[str]) -> None:
        self._site = site
        self._free = list(devices)
        self._store = Store(site.store)
        self._sharing = Memory.shared(devices)  # only then does it matter what jobs take
        self._memory = Memory(devices, finished_jobs(self._store) if self._sharing else ())
        self.capacity = len(devices)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self._running: dict[int, tuple[ForkServerProcess, Job, str]] = {}
        self._shared: set[int] = set()  # those of the running that had company

    def admits(self, job: Job) -> bool:
        """Whether a free device has room for a job beside those that run on it."""
        return self._device(job) is not None

    def _device(self, job: Job) -> str | None:
        """The first free device that has room for a job."""
        for device in self._free:
            beside = (other for _, other, on in self._running.values() if on == device)
            if self._memory.admits(job, device, beside):
                return device
        return None

    def start(self, job: Job) -> None:
        """Start a job on a free device that has room for it."""
        device = self._device(job)
        assert device is not None  # the scheduler has asked `admits`
        self._free.remove(device)
        # A signal between the start of a process and its entry in `_running` would leave a worker that `stop` misses.
        with signals_later(), _environment(), hidden_main():
            site = replace(self._site, device=device, share=self._memory.share(device))
            process = self._started(job, site)
            self._running[process.sentinel] = (process, job, device)
        if len(self._running) > 1:
            self._shared.update(self._running)

    def _started(self, job: Job, site: Site) -> ForkServerProcess:
        """Start a process. If the server is just dying (killed for memory, say), try again with a new server."""
        for pause in (0.1, 0.4, 1.6):
            try:
                return self._begun(job, site)
            except (EOFError, ConnectionError):
                time.sleep(pause)
        return self._begun(job, site)

    def _begun(self, job: Job, site: Site) -> ForkServerProcess:
        process = self._context.Process(target=main, args=(job, site), daemon=True)
        process.start()
        return process

    def ended(self, timeout: float) -> list[Ended]:
        """The jobs whose processes ended since the last call; their devices become free."""
        if not self._running:
            time.sleep(min(timeout, 0.05))
            return []
        ended = []
        for sentinel in wait(list(self._running), timeout):
            assert isinstance(sentinel, int)
            process, job, device = self._running.pop(sentinel)
            process.join()
            self._free.append(device)
            if self._sharing and (record := self._store.folder(job.key).record()) is not None:
                self._memory.learn(Took.of(record))
            shared = sentinel in self._shared
            self._shared.discard(sentinel)
            code = process.exitcode
            died = None if code in (0, HELD) else _how_it_died(code)
            ended.append(Ended(job, died, held=code == HELD, shared=shared))
        return ended

    def stop(self) -> None:
        """Terminate every worker, and kill those that do not end within ``GRACE`` seconds."""
        for process, _, _ in self._running.values():
            process.terminate()
        deadline = time.monotonic() + GRACE
        for process, _, _ in self._running.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
        self._running.clear()
        self._shared.clear()


@contextlib.contextmanager
def signals_later() -> Iterator[None]:
    """Delay Ctrl-C and SIGTERM until the context ends, if this is the main thread, which receives them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, lambda received, _frame: caught.append(received))
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, handler)
        if caught:
            signal.raise_signal(caught[0])


PERHAPS_MEMORY = "out of memory?"
"""In the reason why a worker died, if it was killed as the system kills for memory."""
_UNWRITABLE = "the worker could write neither a result nor why there is none: is the disk full?"


def _how_it_died(code: int | None) -> str:
    if code == UNWRITABLE:
        return _UNWRITABLE
    if code == 255:  # multiprocessing gives this code if the server did not report one
        return "the worker exited with code 255, or the server that it was forked from was ended"
    if code is not None and code < 0:
        hint = f" ({PERHAPS_MEMORY})" if code == -9 else ""
        return f"the worker was ended by signal {-code}{hint}"
    return f"the worker exited with code {code}"


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set variables for the fork server, which starts with the first job; afterwards restore those of this process."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


_MAIN_LOCK = threading.Lock()


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Hide the caller's main module, so that workers do not import it: a script without the usual guard would run again
    in each worker, and a console script would load the command line.
    """
    main: Any = sys.modules["__main__"]
    with _MAIN_LOCK:
        kept = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
        try:
            main.__spec__ = None
            if "__file__" in kept:
                del main.__file__
            yield
        finally:
            for name, value in kept.items():
                setattr(main, name, value)
