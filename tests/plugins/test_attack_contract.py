"""A description of an attack that breaks its contract is named when it is registered."""

from __future__ import annotations

import pytest

from bench.attacks.named import ATTACKS
from bench.plugins.attack_contract import attack_problems

MODULE = """\
from typing import ClassVar

from bench.attacks.spec import Attack, Count


class Mine(Attack):
    name: ClassVar[str] = "mine-t"
    summary: ClassVar[str] = "Does nothing."
    source: ClassVar[str] = "this test"
    steps: Count = 3

    def definition(self, threat, targets=None):
        return f"mine[{self.steps}]"

    def passes(self):
        return 2.0 * self.steps

    def attack(self, problem):
        raise NotImplementedError


class Wrong(Mine):
    name: ClassVar[str] = "wrong-t"
    %s


MINE, WRONG = Mine(), Wrong()
"""


@pytest.mark.parametrize("attack", list(ATTACKS.values()), ids=ATTACKS.names())
def test_ours_keep_it(attack: object) -> None:
    assert attack_problems(attack) == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("norms: ClassVar = ('l1',)", "norms is ('l1',), expected a tuple of 'linf' and 'l2'"),
        ("summary: ClassVar = ''", "summary is '', expected a text that says something"),
        ("own: ClassVar = 1", "own is 1, expected True or False"),
        ("version: ClassVar = '2'", "version is '2', expected a whole number of 0 or more, or None"),
        ("def passes(self): return float('nan')", "passes() is nan, expected a finite number of 0 or more"),
        ("def passes(self): return 1 / 0", "passes() raises ZeroDivisionError: division by zero"),
        ("def definition(self, threat, targets=None): return None", "definition(linf) is None, expected a text"),
        ("def impossible(self, norm, shape, classes): return 3", "impossible(linf, (3, 32, 32), 10) is 3, expected"),
        ("is_random = property(lambda self: 'yes')", "is_random is 'yes', expected True or False"),
        ("decided_by = property(lambda self: 'best')", "decided_by is 'best', expected 'final' or 'any'"),
    ],
)
def test_what_breaks_it_is_named(site, line: str, problem: str) -> None:  # type: ignore[no-untyped-def]
    site.module("mine_attack_t", MODULE % line)
    site.distribution(
        "mine-attack", "bench.attacks", {"mine-t": "mine_attack_t:MINE", "wrong-t": "mine_attack_t:WRONG"}
    )
    ATTACKS.reset()
    try:
        found = {entry.name: entry for entry in ATTACKS.entries()}
        assert found["mine-t"].error is None
        assert problem in str(found["wrong-t"].error)
        assert found["pgd"].error is None
    finally:
        ATTACKS.reset()
