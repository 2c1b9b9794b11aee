"""A description of a score that breaks its contract is named when it is registered."""

from __future__ import annotations

import pytest

from bench.scores.named import SCORES

MODULE = """\
from typing import ClassVar

from bench.scores.spec import Score


class Mine(Score):
    name: ClassVar[str] = "mine-t"
    label: ClassVar[str] = "mine"
    summary: ClassVar[str] = "Does nothing."
    source: ClassVar[str] = "this test"
    reads: ClassVar[tuple[str, ...]] = ("logits",)

    @property
    def definition(self):
        return "mine"

    def score(self, outputs, fit):
        raise NotImplementedError


class Wrong(Mine):
    name: ClassVar[str] = "wrong-t"
    %s


MINE, WRONG = Mine(), Wrong()
"""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("reads: ClassVar = ('logit',)", "reads is ('logit',), expected a tuple of 'logits', 'features'"),
        ("reads: ClassVar = ()", "reads is (), expected a tuple of"),
        ("reads: ClassVar = 'logits'", "reads is 'logits', expected a tuple of"),
        ("label: ClassVar = ''", "label is '', expected a text that says something"),
        ("fitted: ClassVar = 1", "fitted is 1, expected True or False"),
        ("version: ClassVar = '2'", "version is '2', expected a whole number of 0 or more, or None"),
        ("definition = property(lambda self: None)", "definition is None, expected a text"),
        ("definition = property(lambda self: 1 / 0)", "definition raises ZeroDivisionError"),
    ],
)
def test_what_breaks_it_is_named(site, line: str, problem: str) -> None:  # type: ignore[no-untyped-def]
    site.module("mine_score_t", MODULE % line)
    site.distribution("mine-score", "bench.scores", {"mine-t": "mine_score_t:MINE", "wrong-t": "mine_score_t:WRONG"})
    found = {entry.name: entry for entry in SCORES.entries()}
    assert found["mine-t"].error is None
    assert problem in str(found["wrong-t"].error)
    assert found["knn"].error is None
