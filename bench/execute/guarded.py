"""A display between a run and a person that cannot do the run any harm."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, cast

from bench.plain import plain

if TYPE_CHECKING:
    from bench.execute.scheduler import Display

__all__ = ["guarded"]


class _Guarded:
    def __init__(self, display: Any) -> None:
        self._display = display
        self._failed = False

    def __getattr__(self, name: str) -> Any:
        """A method of the display that does not raise: after the first failure no method does anything."""
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._display, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if self._failed:
                return None
            try:
                return method(*arguments, **options)
            except Exception as error:  # whatever it is, the jobs have nothing to do with it
                self._failed = True
                self._give_up(error)
                return None

        return call

    def _give_up(self, error: Exception) -> None:
        with contextlib.suppress(Exception):
            close = getattr(self._display, "close", None)
            if close is not None:
                close()
        # The pipe that nobody reads any more may be standard error itself.
        with contextlib.suppress(Exception):
            text = plain(f"{type(error).__name__}: {error}")
            sys.stderr.write(f"bench: the display of the run failed ({text}); the run goes on without it\n")
            sys.stderr.flush()


def guarded(display: Display) -> Display:
    """The display, without the exceptions that it raises: the first one ends the display and not the run.

    A closed pipe, a terminal that cannot show a character, or a fault of the display itself costs what is shown. An
    interrupt from the keyboard passes through. A display that has a method ``close`` is told to give the terminal back.
    """
    return cast("Display", _Guarded(display))
