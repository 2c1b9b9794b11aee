"""Engines: where jobs run, by name: `local`, `slurm`, or one of somebody's package (entry points `bench.engines`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from bench.execute.context import Site
from bench.execute.devices import slots
from bench.execute.executors import Executor, Pool
from bench.registry import Registry

if TYPE_CHECKING:
    from bench.suite.cluster import Cluster

__all__ = ["ENGINES", "LOCAL", "Detached", "Engine", "Request"]


@dataclass(frozen=True)
class Request:
    """What the user asked of an engine.

    Attributes:
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        workers: Most jobs at once; None for what the engine finds right.
        cluster: ``[cluster]`` of the settings.
    """

    device: str
    workers: int | None
    cluster: Cluster


@runtime_checkable
class Engine(Protocol):
    """A place where jobs run."""

    @property
    def name(self) -> str:
        """The name for ``bench run --on``."""
        ...

    def slots(self, request: Request) -> list[str]:
        """The device of each job that may run at once: ``"cpu"``, or ``"cuda:<i>"`` as the job itself sees it.

        Raises:
            bench.errors.BenchError: The engine cannot give what was asked.
        """
        ...

    def executor(self, site: Site, devices: list[str], request: Request) -> Executor:
        """Make the executor; called only if there are jobs to run.

        Args:
            site: Where jobs find their inputs and write their results.
            devices: What ``slots`` returned.
            request: What the user asked for.

        Raises:
            bench.errors.PrerequisiteError: A package or a program that the engine needs is missing.
        """
        ...


@runtime_checkable
class Detached(Protocol):
    """An executor whose jobs outlive the command: ``stop`` leaves them, and the next command takes their results."""

    def left(self) -> list[str]:
        """What ``stop`` has left, such as ids in a queue, for people."""
        ...

    def cancel(self) -> None:
        """End what ``stop`` has left."""
        ...


class Local:
    """The processes of this machine."""

    name = "local"

    def slots(self, request: Request) -> list[str]:
        """One per GPU, or one per core without a GPU."""
        return slots(request.device, request.workers)

    def executor(self, site: Site, devices: list[str], request: Request) -> Executor:  # noqa: ARG002
        """A pool of worker processes."""
        return Pool(site, devices)


LOCAL = Local()
ENGINES: Registry[Engine] = Registry("engine", "engines", Engine, "bench.engines")  # type: ignore[type-abstract]
