"""Comparison of the code of a job's family, backbone and evaluation with the code in its key.

Data are compared with their fingerprints where they are parsed (`bench.data.job`), weights where they are loaded
(`bench.weights.load.adopt`). The code of a component with a declared version is not compared: its version identifies
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.errors import BenchError
from bench.evaluate.base import EVALUATIONS
from bench.keys import canonical
from bench.plan.tasks import EvaluateTask, Task
from bench.plugins.sources import component
from bench.spec import BACKBONES, FAMILIES

__all__ = ["hold_code"]


def hold_code(task: Task) -> None:
    """Compare the code, and the files that the family declares, with those that the job was planned with.

    Raises:
        BenchError: Code or a file has changed since the suite was read; the message names it.
    """
    model, planned = task.train.model, task.train.identity
    family, backbone = FAMILIES.get(model.family), BACKBONES.get(model.backbone)
    found: dict[str, Mapping[str, Any]] = {
        "family": component(family.name, family.version, family.implementation),
        "backbone": component(backbone.name, backbone.version, backbone.implementation),
    }
    if isinstance(task, EvaluateTask):
        evaluation = EVALUATIONS.get(task.evaluation)
        found["evaluation"] = component(evaluation.name, evaluation.version, f"{type(evaluation).__module__}:_")
        config = evaluation.Config.model_validate_json(canonical(task.config))
        found |= dict(used.identity for used in evaluation.uses(config))
    for kind, expected in task.code.items():
        if dict(found.get(kind, {})) != dict(expected):
            name = expected["name"]
            raise BenchError(
                f"the code of {kind.partition(' ')[0]} {name!r} has changed since the suite was read; run again"
            )
    if family.identity is None or planned is None:
        return
    facts = dict(family.identity(family.config.model_validate_json(canonical(model.config))))
    for name in sorted(facts.keys() | planned.keys()):
        if facts.get(name) != planned.get(name):
            given = model.config.get(name, model.config.get("callable", ""))
            raise BenchError(
                f"{name} of family {family.name!r} ({given}) has changed since the suite was read; run again"
            )
