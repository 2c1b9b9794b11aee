"""Leases: what tells that another machine holds a file where operating-system locks say nothing across machines.

The holder of a lock writes into the file who it is, and touches the file every ``BEAT`` seconds. On its own machine the
operating-system lock decides, which ends with the process. Another machine that gets the lock all the same (NFS without
locks, Lustre with ``localflock``) takes the file for held while its time is younger than ``EXPIRES`` seconds.

Only one machine at a time reads a lease and writes its own: it creates the file *claim* beside it for that moment, with
``O_EXCL``, which file systems without locks grant to one alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["BEAT", "CLOCKS", "EXPIRES", "beating", "claimed", "facts", "flock", "held", "machine", "write"]

BEAT = 10.0
"""Seconds between two heartbeats."""
EXPIRES = 60.0
"""Age in seconds of the last heartbeat from which a lease counts for nothing."""
CLOCKS = 30.0
"""Seconds by which the clocks of machines and file server may differ: ``EXPIRES`` less ``BEAT`` less 20 s of delay."""

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
"""What ``flock`` raises on file systems without locks."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def machine() -> str:
    """Name of the machine and, on Linux, of its boot: operating-system locks are seen by all processes of one."""
    try:
        boot = _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}".rstrip()


def flock(file: IO[str], operation: int) -> bool:
    """Take or release the operating-system lock of a file without waiting.

    Returns:
        Whether there are such locks here; without them leases alone decide.

    Raises:
        BlockingIOError: Another process holds it.
    """
    try:
        fcntl.flock(file, operation | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return False
    return True


def facts(path: Path) -> dict[str, Any]:
    """What the last holder wrote into a file; empty if it has released it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def held(path: Path, *, locks: bool = True) -> bool:
    """Whether another machine holds a file, by its heartbeat.

    Args:
        path: The file.
        locks: Whether there are operating-system locks here, and this process has just got that of the file: then no
            process of this machine holds it.
    """
    found = facts(path)
    if "machine" not in found or (locks and found["machine"] == machine()):
        return False
    try:
        with path.open("rb") as file:  # opening makes NFS ask the server for the time of the file
            age = time.time() - os.fstat(file.fileno()).st_mtime
    except OSError:
        return False
    return abs(age) < EXPIRES  # a time far in the future comes from a wrong clock and must not hold for ever


def write(path: Path, **more: Any) -> str:
    """Write this process into a file as its holder, and return the token of the lease.

    The file is closed again, because NFS sends its content to the server then.
    """
    token = uuid.uuid4().hex
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "machine": machine(), "token": token}
    path.write_text(json.dumps({**holder, "since": time.time(), **more}), encoding="utf-8")
    return token


@contextlib.contextmanager
def beating(path: Path, token: str, *, empty: bool = True) -> Iterator[None]:
    """Touch a file every ``BEAT`` seconds while the context lasts, as long as it holds the token.

    Args:
        path: The file.
        token: The token that ``write`` returned.
        empty: Remove the content at the end, so that other machines need not wait until the lease expires.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with contextlib.suppress(OSError):  # a server that is away for a moment
                if facts(path).get("token") not in (token, None):
                    return  # this process stood still for so long that another machine took over
                os.utime(path)

    threading.Thread(target=beat, name="lease", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if empty and facts(path).get("token") == token:
            with contextlib.suppress(OSError), path.open("r+") as file:
                file.truncate()


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Create a file that only one process of all machines can create, and remove it afterwards; yield whether it was
    created. One that a killed process left is removed after ``EXPIRES`` seconds.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        _clear(path)
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _clear(path: Path) -> None:
    """Remove a claim that a killed process left. It is renamed first, which only one process can do."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime >= EXPIRES:
            aside = path.with_name(f".{path.name}-{uuid.uuid4().hex}.tmp")
            path.rename(aside)
            aside.unlink()
