"""The measurements of ``sampler.py``, as numbers and as a table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Way", "describe", "table"]


@dataclass
class Way:
    """A measured variant: its function, its seconds, and its peak memory on a GPU."""

    name: str
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    peak: int = 0


def describe(network: str, family: str, count: int, forwards: list[float], ways: Mapping[str, Way]) -> dict[str, Any]:
    """One row.

    Args:
        network: Its name.
        family: Of our model.
        count: Forward passes in the lower bound of one iteration.
        forwards: Seconds of one forward pass, one per repetition.
        ways: ``original``, ``ours``, and ``asked`` where another precision or other kernels were asked for.
    """
    mine, other = ways["ours"].seconds, ways["original"].seconds
    row: dict[str, Any] = {
        "network": network,
        "family": family,
        "forward_ms": 1e3 * statistics.median(forwards),
        "original_s": statistics.median(other),
        "ours_s": statistics.median(mine),
        "bound_s": count * statistics.median(forwards),
        "bound_forwards": count,
        "ours_forwards": _ratio(mine, forwards),
        "original_over_ours": _ratio(other, mine),
        "ours_over_bound": _ratio(mine, forwards) / count,
        "spread": _spread(other, mine),
        "original_peak_bytes": ways["original"].peak or None,
        "ours_peak_bytes": ways["ours"].peak or None,
    }
    if "asked" in ways:
        seconds = ways["asked"].seconds
        row["asked"] = {
            "seconds": statistics.median(seconds),
            "ours_over_asked": _ratio(mine, seconds),
            "spread": _spread(mine, seconds),
            "peak_bytes": ways["asked"].peak or None,
        }
    return row


def _ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios within repetitions."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def _spread(above: list[float], below: list[float]) -> list[float]:
    """Smallest and largest of the ratios within repetitions."""
    ratios = [a / b for a, b in zip(above, below, strict=True)]
    return [min(ratios), max(ratios)]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| network | family | F | original | ours | bound | original / ours (range) | ours / bound |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = row["spread"]
        lines.append(
            f"| {row['network']} | {row['family']} | {row['forward_ms']:.1f} ms | {row['original_s']:.3f} s | "
            f"{row['ours_s']:.3f} s = {row['ours_forwards']:.1f} F | "
            f"{row['bound_s']:.3f} s = {row['bound_forwards']} F | "
            f"{row['original_over_ours']:.2f} ({low:.2f} to {high:.2f}) | {row['ours_over_bound']:.2f} |"
        )
        if row["ours_peak_bytes"]:
            lines[-1] += f" peak {row['original_peak_bytes'] / 2**20:.0f} / {row['ours_peak_bytes'] / 2**20:.0f} MiB |"
    for row in rows:
        if "asked" in row:
            asked = row["asked"]
            low, high = asked["spread"]
            how = f"{asked['precision']}, cuDNN {asked['cudnn']}"
            peak = f", peak {asked['peak_bytes'] / 2**20:.0f} MiB" if asked["peak_bytes"] else ""
            lines.append(
                f"\n{row['network']} {row['family']}, {how}: {asked['seconds']:.3f} s; ours / that "
                f"{asked['ours_over_asked']:.2f} ({low:.2f} to {high:.2f}){peak}"
            )
    return "\n".join(lines)
