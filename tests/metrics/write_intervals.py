"""Writes docs/intervals.md from simulations: ``python -m tests.metrics.write_intervals``, half an hour on two cores."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.metrics import test_coverage_auroc, test_coverage_differences, test_coverage_intervals
from tests.metrics.simulation import REPETITIONS, Case, Measured, measured

FILE = Path(__file__).parents[2] / "docs" / "intervals.md"
SECTIONS = {
    "Proportions, means and medians": test_coverage_intervals.CASES,
    "AUROC": test_coverage_auroc.CASES,
    "Differences between two models": test_coverage_differences.CASES,
}
HEAD = (Path(__file__).parent / "intervals_head.md").read_text(encoding="utf-8")


def _number(index: tuple[str, int]) -> Measured:
    return measured(SECTIONS[index[0]][index[1]])


def row(case: Case, found: Measured) -> str:
    """One line of a table."""
    coverage = "" if found.width != found.width else f"{found.coverage:.1f}"
    width = "" if found.width != found.width else f"{found.width:.3g}"
    rejected = "" if case.size is None or found.rejected is None else f"{found.rejected:.1f}"
    return f"| {case.method} | {case.setting} | {case.n} | {coverage} | {width} | {rejected} | {case.why} |"


def main() -> None:
    """Simulate all cases and write the file."""
    indices = [(section, index) for section, cases in SECTIONS.items() for index in range(len(cases))]
    with ProcessPoolExecutor() as pool:
        found = dict(zip(indices, pool.map(_number, indices), strict=True))
    parts = [HEAD.replace("{repetitions}", f"{REPETITIONS:,}").rstrip()]
    for section, cases in SECTIONS.items():
        lines = [row(case, found[section, index]) for index, case in enumerate(cases)]
        head = "| method | setting | n | coverage, % | mean width | p <= .05, % | remark |\n" + "| --- " * 7 + "|"
        parts.append(f"## {section}\n\n{head}\n" + "\n".join(lines))
    FILE.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
