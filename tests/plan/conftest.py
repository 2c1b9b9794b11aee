"""Plans compared by their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.plan.jobs import Plan

if TYPE_CHECKING:
    pass


def keys(plan: Plan) -> dict[str, str]:
    return {job.id: job.key for job in plan.jobs}


def changed(before: Plan, after: Plan) -> set[str]:
    """Ids of the jobs whose key differs, or that only one of the plans has."""
    one, other = keys(before), keys(after)
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def replaced(text: str, old: str, new: str, count: int = 1) -> str:
    assert old in text
    return text.replace(old, new, count)
