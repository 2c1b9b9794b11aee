"""The recipe of the protocol page for MMC and the WRN with batch normalisation, as a user would run it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Project

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
REST = """
[suite]
name = "recipe"
[data]
dataset = "digits"
seed = 2
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "ood"
sets = ["uniform"]
scores = ["log-density"]
"""


@pytest.mark.slow
def test_the_recipe_of_the_protocol_page(project: Project) -> None:
    """Above 96 % of the test digits, and uniform noise less dense than digits."""
    (recipe,) = [block for block in re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.S) if '"mmc"' in block]
    outcome = project.bench.run(project.suite(REST + recipe, "recipe"), in_process=True, device="cpu")
    assert outcome.summary.counts() == {"done": len(outcome.summary.states)}
    rows = project.bench.results()
    numbers = {(row.model, row.metric): row.value for row in rows.itertuples()}
    for model in ("mmc", "softmax"):
        assert numbers[model, "accuracy"] > 0.96
    assert numbers["mmc", "log-density.auroc"] > 0.9
