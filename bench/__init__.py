"""bench: softmax, JEM and GMMC compared on the same data, with the same protocol and the same budget.

From Python::

    import bench

    bench.run("digits")                  # trains and evaluates what has no result yet
    bench.tables("digits")               # the tables as data
    bench.results()                      # every number as a pandas DataFrame
    bench.load_model("gmmc-gen")         # a plain module from images in [0, 1] to logits

Importing this package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.api import Bench, Run, load_model, plan, results, run, tables

__all__ = ["Bench", "Run", "load_model", "plan", "results", "run", "tables"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'bench' has no attribute {name!r}")
    from bench import api

    return getattr(api, name)
