"""Charts as data: accuracy against the size of a perturbation, one line a model."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Chart", "Line", "Panel"]


@dataclass(frozen=True)
class Line:
    """One model in one panel.

    Attributes:
        label: The model.
        rank: Its place among the rows of the table, which gives it one look in all panels.
        x: Increasing sizes, from 0 on, in the unit of the axis.
        y: Accuracies in [0, 1].
        low, high: Ends of the 95 % intervals; equal to ``y`` where there is none.
        masked: Whether the number is known to be too high; for lines of points.
    """

    label: str
    rank: int
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    masked: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One metric of one evaluation.

    Attributes:
        title: What was attacked how.
        axis: What ``x`` is, with its unit.
        lines: The models.
        steps: Whether the lines are exact between their points: step functions, continuous from the right.
        marks: Sizes that are columns of the table.
        limit: Right end of the axis.
    """

    title: str
    axis: str
    lines: tuple[Line, ...]
    steps: bool
    marks: tuple[float, ...]
    limit: float


@dataclass(frozen=True)
class Chart:
    """All panels of one table, with what has to be said under them."""

    title: str
    panels: tuple[Panel, ...]
    caption: str
