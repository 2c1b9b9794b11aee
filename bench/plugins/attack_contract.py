"""What the description of an attack must hold: looked at when it is registered, before anything runs."""

from __future__ import annotations

from functools import partial
from typing import Any

from bench.plugins.declared import Checks, finite, reply

__all__ = ["attack_problems"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NORMS = {"linf": 8 / 255, "l2": 0.5}
"""The norms that there are, each with a typical budget."""


def attack_problems(attack: Any) -> list[str]:
    """What of an attack, an instance of `bench.attacks.spec.Attack` with its defaults, breaks its contract."""
    from bench.attacks.threat import ThreatModel

    checks = Checks(attack)
    checks.name("name", _NAME, "letters, digits, '.', '_' and '-', first a letter or digit")
    for field in ("summary", "source"):
        checks.text(field)
    checks.version()
    for field in ("own", "minimises_norm", "targetable", "startable", "needs_surrogate"):
        checks.flag(field)
    norms = checks.value("norms")
    known = isinstance(norms, tuple) and bool(norms) and set(norms) <= set(_NORMS)
    if not checks.expect("norms", known, f"a tuple of {' and '.join(map(repr, _NORMS))}"):
        return checks.problems
    for norm in norms:
        threat = ThreatModel(norm, _NORMS[norm])
        definition = reply(
            f"definition({norm})",
            partial(attack.definition, threat),
            lambda text: isinstance(text, str) and text.strip() != "",
            "a text that says something",
        )
        fits = reply(
            f"impossible({norm}, (3, 32, 32), 10)",
            partial(attack.impossible, norm, (3, 32, 32), 10),
            lambda why: why is None or isinstance(why, str),
            "a text, or None",
        )
        for _, problem in (definition, fits):
            if problem:
                checks.say(problem)
    for _, problem in (
        reply("passes()", lambda: attack.passes(), finite, "a finite number of 0 or more"),
        reply("is_random", lambda: attack.is_random, lambda answer: isinstance(answer, bool), "True or False"),
        reply("decided_by", lambda: attack.decided_by, lambda text: text in ("final", "any"), "'final' or 'any'"),
    ):
        if problem:
            checks.say(problem)
    return checks.problems
