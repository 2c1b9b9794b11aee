"""Writes docs/protocol.md from the schemas that the harness itself reads: ``python docs/make_protocol.py``.

``tests/test_docs.py`` fails if the file is out of date.
"""

from __future__ import annotations

from pathlib import Path

from bench.catalogue import inline
from bench.evaluate.base import EVALUATIONS
from bench.spec import FAMILIES, Setting, settings

HEAD = """\
# Protocol

Made by `python docs/make_protocol.py` from the schemas that the harness reads; do not edit by hand.

Every setting with its default, what the GMMC paper states, what released code does, and why the default is what it is.
`bench describe <name>` prints the same. A preset bundles settings: `preset = "paper"` gives the paper's literal values.

## What paper and code disagree on, beyond single settings

- **Logits of GMMC** are -0.5 ||phi(x) - mu_y||^2, that is gamma^2 = 1, as in the code. The paper's Eq. 11 divides by
  the estimated gamma^2; that is the read-out `paper`. A temperature fitted on validation data and the linear simplex
  read-out stand beside both.
- **The energy of samples** is measured to mu_{y'}, not to the drawn z (code; the paper's Algorithm 1 leaves it open).
- **log p(x)** is a stable log-sum-exp; the code's loses everything beyond a squared distance of about 207.
- **Labels of the buffer** start aligned with their class partitions; the code draws them at random before seeding.
- **Divergence**: the codes compare |L| > 1e8, which NaN passes, and go on or exit silently. Here it is a result.
- **Validation**: 5,000 training images (200 of the digits), chosen by the data seed; never the test set. Accuracies are
  therefore those of 45,000 training images.
- **Softmax baseline**: JEM's script with the p(x) term off, on JEM's schedule, not its `clf_only` switch, which trains
  the head alone.
- **Evaluation noise** is 0 for all (JEM's evaluation adds 0.03).
- **PGD** in [0, 1], uniform start, step eps/30, one restart, final iterate, cross-entropy on raw logits: JEM's library
  defaults, because the paper states only "40 steps"; the margin loss stands beside it.
- **C&W** is untargeted, L2 over pixels in [0, 1]; constants are not stated in the paper.
"""


def main() -> None:
    """Write the file."""
    (Path(__file__).parent / "protocol.md").write_text(protocol(), encoding="utf-8")


def protocol() -> str:
    """The page."""
    parts = [HEAD]
    parts.append("## Families\n")
    for family in FAMILIES.values():
        parts.append(f"### {family.label} (`{family.name}`)\n\n{family.summary} Source: {family.source}.\n")
        if family.presets:
            parts += [f"- preset `{name}`: {inline(values)}" for name, values in family.presets.items()]
            parts.append("")
        parts.append(_table(settings(family.config)))
    parts.append("## Evaluations\n")
    for evaluation in EVALUATIONS.values():
        parts.append(f"### `{evaluation.name}`\n\n{evaluation.summary} Source: {evaluation.source}.\n")
        parts.append(_table(settings(evaluation.Config)))
    return "\n".join(parts)


def _table(rows: list[Setting]) -> str:
    lines = ["| setting | default | what it is | paper | code | why |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = [f"`{row.key}`", f"`{inline(row.default)}`", row.description, row.paper, row.code, row.why]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
