"""Variants measured by turns: rounds in alternating order, ratios taken within a round."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Counter", "Row", "compare", "ratios", "table"]

Variant = Callable[[], Sequence[float]]
"""Runs the attack and returns its result: survivors at each budget, or a mean norm."""


class Counter(Protocol):
    """A counter of forward passes.

    Attributes:
        forwards: Number of images that passed the network so far.
        images: The attacked images.
    """

    forwards: int
    images: Any


@dataclass
class Row:
    """The measurements of one variant.

    Attributes:
        name: Name of the variant.
        seconds: Processor time of each round.
        forwards: Forward passes per image.
        found: Its result.
    """

    name: str
    seconds: list[float] = field(default_factory=list)
    forwards: float = 0.0
    found: Sequence[float] = ()


def compare(counter: Counter, variants: Mapping[str, Variant], rounds: int, *, title: str) -> list[Row]:
    """Run every variant once a round, in one order and the next round in the other; one round before that warms up.

    Processor time of the process, which other load on the machine disturbs less than it does the clock.
    """
    rows = {name: Row(name) for name in variants}
    for number in range(-1, rounds):
        order = list(variants)
        for name in order if number % 2 else order[::-1]:
            counter.forwards = 0
            began = time.process_time()
            rows[name].found = variants[name]()
            seconds = time.process_time() - began
            rows[name].forwards = counter.forwards / len(counter.images)
            if number >= 0:
                rows[name].seconds.append(seconds)
        print(f"{title}: {'warm-up' if number < 0 else f'round {number + 1} of {rounds}'}", file=sys.stderr)
    return list(rows.values())


def ratios(above: Row, below: Row) -> list[float]:
    """Ratios of the times of two rows, within rounds."""
    return [a / b for a, b in zip(above.seconds, below.seconds, strict=True)]


def table(rows: Sequence[Row], measure: str) -> str:
    """A Markdown table; "times faster" is the median, and the range, of the ratios to the first row within a round."""
    lines = [
        f"| variant | seconds (median) | times faster (range) | forwards per image | {measure} |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        faster = ratios(rows[0], row)
        shown = f"{statistics.median(faster):.2f} ({min(faster):.2f}-{max(faster):.2f})"
        found = ", ".join(f"{value:.3f}" for value in row.found)
        lines.append(f"| {row.name} | {statistics.median(row.seconds):.2f} | {shown} | {row.forwards:.1f} | {found} |")
    return "\n".join(lines)
