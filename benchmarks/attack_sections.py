"""The sections of the attack benchmark: their measurements and tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import attack_overhead
import torch
from attack_rounds import Row, Variant, compare, ratios, table
from attack_subjects import Subject, budget
from attack_variants import (
    BARE,
    BOUND,
    bare_variant,
    channels_last_variant,
    cw_variants,
    pgd_variants,
    sweep_variants,
)

__all__ = ["MEASURES", "Report"]

FEW, SOME = 0.05, 0.15
MANY = 0.3
WEAK = 3
"""The factor of rounds where nothing is broken, because the differences to be measured are small."""


class Report:
    """Prints sections as they are finished, and keeps them for the JSON file."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.sections: dict[str, list[dict[str, Any]]] = {}

    def rows(
        self, title: str, subject: Subject, variants: dict[str, Variant], measure: str, factor: int = 1
    ) -> list[Row]:
        """Measure variants and print their table."""
        rows = compare(subject, variants, factor * self.rounds, title=title)
        kept = [{**asdict(row), "times_faster": statistics.median(ratios(rows[0], row))} for row in rows]
        self.add(title, kept, table(rows, measure))
        return rows

    def add(self, title: str, rows: list[dict[str, Any]], text: str) -> None:
        """Print a table and keep its rows."""
        self.sections[title] = rows
        print(f"\n**{title}**\n\n{text}", flush=True)


def measure_pgd(report: Report, subjects: Sequence[Subject]) -> None:
    """PGD at a budget that all images survive and at one that few survive; own attacks against the bound."""
    softmax = subjects[0]
    variants = {**pgd_variants(softmax, 1e-6), **bare_variant(softmax), **channels_last_variant(softmax, 1e-6)}
    rows = report.rows("PGD-40, no image is broken (eps = 1e-6)", softmax, variants, "survivors", WEAK)
    by_name = {row.name: row for row in rows}
    shares: list[dict[str, Any]] = [
        {"what": name, "bound": statistics.median(of_bound), "range": [min(of_bound), max(of_bound)]}
        for name in (BARE, "own, all images", "own, survivors only")
        for of_bound in [ratios(by_name[BOUND], by_name[name])]
    ]
    lines = ["| variant | bound / time | range |", "|---|---:|---:|"]
    lines += [f"| {s['what']} | {s['bound']:.1%} | {s['range'][0]:.1%} to {s['range'][1]:.1%} |" for s in shares]
    report.add(f"Share of the bound ({BOUND}) in the time", shares, "\n".join(lines))
    for subject in subjects:
        smallest = budget(subject, FEW)
        for eps, what in ((smallest, "the smallest budget at which"), (2 * smallest, "at twice that")):
            title = f"PGD-40, {subject.head}, {what} at most {FEW:.0%} survive (eps = {255 * eps:.2f}/255)"
            report.rows(title, subject, pgd_variants(subject, eps), "survivors")


def measure_sweep(report: Report, subjects: Sequence[Subject]) -> None:
    """A sweep of four budgets around the budget that few images survive, and around one that some survive."""
    for subject in subjects:
        cases = {
            f"at most {FEW:.0%} survive at e": budget(subject, FEW),
            f"at most {SOME:.0%} survive at e": budget(subject, SOME),
            # Every image that survives the first budget has to be attacked to the last step.
            f"at most {MANY:.0%} survive at e/2": 2 * budget(subject, MANY),
        }
        for what, eps in cases.items():
            title = f"PGD-40 at e/2, e, 2e, 4e, {subject.head}, e = {255 * eps:.2f}/255, the smallest where {what}"
            report.rows(title, subject, sweep_variants(subject, [eps / 2, eps, 2 * eps, 4 * eps]), "survivors at each")


def measure_cw(report: Report, subjects: Sequence[Subject]) -> None:
    """One round at one constant, and the time of an iteration."""
    variants, norms = cw_variants(subjects[0])
    rows = report.rows("C&W L2, 100 iterations, c = 1", subjects[0], variants, "share broken, mean L2")
    common = torch.stack(list(norms.values())).isfinite().all(dim=0)
    means = [{"what": name, "l2": float(values[common].mean())} for name, values in norms.items()]
    lines = ["| variant | mean L2 |", "|---|---:|", *(f"| {mean['what']} | {mean['l2']:.4f} |" for mean in means)]
    report.add(f"C&W L2, the {int(common.sum())} images that all of them broke", means, "\n".join(lines))
    # Over the whole time, so with the evaluation of success in libraries, and with judge and passes in float32 of own
    # attacks. torchattacks may stop before 100 iterations.
    done = {row.name: min(100.0, row.forwards) for row in rows}
    iterations = [{"what": row.name, "ms": 1e3 * statistics.median(row.seconds) / done[row.name]} for row in rows]
    lines = ["| variant | ms per iteration |", "|---|---:|", *(f"| {r['what']} | {r['ms']:.1f} |" for r in iterations)]
    report.add("C&W L2, time of an iteration", iterations, "\n".join(lines))


def measure_judge(report: Report, subjects: Sequence[Subject]) -> None:
    """Shares of the judge, of assembling and of the evaluation layer."""
    softmax = subjects[0]
    eps = budget(softmax, FEW)
    rows = attack_overhead.judge_rows(softmax, eps, report.rounds)
    shares = {"judge": "judge", "assembling": "assembling", "passes": "forward passes of the judge"}
    report.add("Judging as a share of an attack", rows, attack_overhead.table(rows, shares))
    rows = attack_overhead.evaluation_rows(softmax, eps, report.rounds)
    shares = {
        "journal": "journal against kills",
        "checks": "checks of the outputs (passes)",
        "evaluation": "numbers, intervals, verdicts",
        "arrays": "arrays on disk",
    }
    report.add("The evaluation around its attacks", rows, attack_overhead.table(rows, shares))


MEASURES: dict[str, Callable[[Report, Sequence[Subject]], None]] = {
    "pgd": measure_pgd,
    "sweep": measure_sweep,
    "cw": measure_cw,
    "judge": measure_judge,
}
