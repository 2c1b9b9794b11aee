"""The formats of a report. Each module of this folder is one format and has its name.

The module has ``ENDING``, the ending of its files, and ``render``, which returns the text of one file, to be encoded as
UTF-8. The command line and the files of a run take the formats from here. A module is imported when its format is used:
the command line needs the names alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from bench.report.model import Report

__all__ = ["FORMATS", "OFFERED", "Format"]


class _Module(Protocol):
    ENDING: str

    def render(self, report: Report) -> str: ...


@dataclass(frozen=True)
class Format:
    """A format, whose module is imported on first use.

    Attributes:
        name: Name of its module.
        function: Name of the function of the module that returns the text of one file.
    """

    name: str
    function: str = "render"

    @property
    def ending(self) -> str:
        """The ending of its files, without a dot."""
        return self._module().ENDING

    def __call__(self, report: Report) -> str:
        """The report as the text of one file."""
        rendered: str = getattr(self._module(), self.function)(report)
        return rendered

    def _module(self) -> _Module:
        return cast(_Module, import_module(f"{__name__}.{self.name}"))


FORMATS: Mapping[str, Format] = {module.name: Format(module.name) for module in iter_modules(__path__)}
"""The formats by name: one for each module."""

OFFERED: Mapping[str, Format] = dict(
    sorted({**FORMATS, "latex-siunitx": Format("latex", "render_with_siunitx")}.items())
)
"""The formats by the names that the command line knows; the files of a run are those of ``FORMATS``."""
