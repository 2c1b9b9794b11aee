"""A report built by hand that has everything a renderer must cope with."""

from __future__ import annotations

import pytest

from bench.metrics.intervals import Interval
from bench.report.model import Cell, Report, Table, TableColumn, TableRow

SPECIAL = r'100% A&B_<script>alert("x")</script> #1 {~^\$} [*] | Rényi −∞'
"""A label with a character that each of the formats gives a meaning to."""


def column(name: str, label: str, unit: str = "fraction", **options: str) -> TableColumn:
    direction = {"up": "up", "down": "down", "none": None}[options.get("direction", "up")]
    return TableColumn(
        id=name,
        label=label,
        group=options.get("group", ""),
        direction=direction,  # type: ignore[arg-type]
        unit=unit,
        definition=f"definition of {name}, eps <= 8/255 & more",
        tested=unit == "fraction",
    )


def measured(name: str, value: float, half: float | None = 0.02, **options: object) -> Cell:
    facts: dict[str, object] = {"n": 397, "seeds": (1,), "status": "ok", "records": (f"key-{name}",)}
    if half is not None:
        facts["interval"] = Interval(value - half, value + half, 0.95, "wilson")
    return Cell(column=name, value=value, **(facts | options))  # type: ignore[arg-type]


def without(name: str, status: str, reason: str) -> Cell:
    return Cell(column=name, status=status, reason=reason)  # type: ignore[arg-type]


def main_table() -> Table:
    columns = (
        column("accuracy", "accuracy"),
        column("calibration.ece", "T = 1", direction="down", group="ECE"),
        column("calibration.ece@fitted", "T fitted", direction="down", group="ECE"),
        column("pgd-40@8/255", "CE", group="PGD-40, 8/255"),
        column("cw-100", "mean L2", unit="l2"),
    )
    names = [c.id for c in columns]
    flags = {"GRAD0": "zero input gradient for 31% of the images & more"}
    rows = (
        TableRow(
            "softmax",
            "softmax",
            "measured",
            (
                measured(names[0], 0.95718, best=True),
                measured(names[1], 0.0153, None),
                measured(names[2], 0.0121, 0.005),
                measured(names[3], 0.125, n=200, verdict="no warning"),
                measured(names[4], 0.7391, 0.05, n=100, verdict="inconclusive"),
            ),
        ),
        TableRow(
            SPECIAL,
            "gmmc-gen",
            "measured",
            (
                measured(
                    names[0],
                    0.93451,
                    best=True,
                    seeds=(1, 2, 3),
                    sd=0.0042,
                    reason="1 of 4 seeds without a number: diverged",
                ),
                without(names[1], "n/a", "has no read-out 'native' <here>"),
                without(names[2], "diverged", "training diverged at epoch 7"),
                measured(names[3], 0.735, n=200, verdict="masked", flags=flags, best=True),
                without(names[4], "pending", "not run yet"),
            ),
        ),
        TableRow(
            "GMMC (Gen), as printed",
            "gmmc-gen",
            "literature",
            (
                Cell(column=names[0], value=0.9301, status="ok"),
                *(without(name, "n/a", "not in the source") for name in names[1:]),
            ),
            "GMMC paper 2021, Table 1, CIFAR10, not comparable",
        ),
    )
    notes = ("One run each: 5% & more.", "† masked; ‡ inconclusive; n ≤ 400; L² norm → see text.")
    return Table("main_table", "Accuracy & attacks (PROFILE smoke: digits, n <= 400)", columns, rows, notes)


def wide_table() -> Table:
    columns = tuple(
        column(f"ood.{score}@{name}", name, unit="auroc", group=group)
        for score, group in (("density", "log p(x)"), ("max", "max p(y|x)"), ("mass", "approx. mass"))
        for name in ("patches", "interpolations", "uniform")
    )
    rows = tuple(
        TableRow(
            label,
            family,
            "measured",
            tuple(measured(c.id, 0.9 - 0.01 * i - shift, 0.0123, best=i == 0) for i, c in enumerate(columns)),
        )
        for label, family, shift in (("softmax", "softmax", 0.0), ("GMMC (Joint)", "gmmc-joint", 0.07))
    )
    return Table("ood", "Out-of-distribution detection, AUROC", columns, rows)


@pytest.fixture
def report() -> Report:
    return Report(
        suite="tiny_suite",
        title="Softmax & GMMC on <digits>",
        profile="smoke",
        substitutions=(("cifar10", "digits"), ("svhn", "patches")),
        deviations=("epochs: 2 [paper: 100 & more]", "sampler steps (tau): 10 [paper: 20]"),
        tables=(main_table(), wide_table()),
    )


@pytest.fixture
def special_label() -> str:
    return SPECIAL
