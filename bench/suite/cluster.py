"""``[cluster]`` of ``bench.toml``: what jobs ask of a cluster, and how many wait in its queue at once."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from bench.spec import Config

__all__ = ["Asked", "Cluster", "Kind"]

Kind = Literal["train", "predict", "evaluate"]


def _word(value: str) -> str:
    if not value or re.search(r"[\s#]", value):
        raise ValueError("expected one word, without spaces")
    return value


def _line(value: str) -> str:
    if re.search(r"[\r\n\x00]", value):
        raise ValueError("expected a list with one shell line each")
    return value


def _memory(value: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[KMGT]B?", value):
        raise ValueError('expected a whole number with its unit, such as "8GB" or "500M"')
    return value


_Word = Annotated[str, AfterValidator(_word)]
_Line = Annotated[str, AfterValidator(_line)]
_Memory = Annotated[str, AfterValidator(_memory)]
# Slurm announces the end 90 s before it, or up to a minute earlier: a shorter job would be announced before it begins.
_Minutes = Annotated[int, Field(ge=5)]


class Asked(Config):
    """What one job asks for; where a field is None, the cluster decides."""

    partition: _Word | None = Field(None, description="Partition, or several with commas")
    time: _Minutes | None = Field(None, description="Minutes after which a job is queued again, to continue")
    memory: _Memory | None = Field(None, description='Memory of a job, such as "8GB"')
    cpus: PositiveInt | None = Field(None, description="Cores of a job; without a GPU a job computes on one")
    gpus: Annotated[int, Field(ge=0, le=1)] | None = Field(
        None, description="0, or 1 for jobs on a GPU; one GPU is all that a job uses"
    )
    account: _Word | None = Field(None, description="Account to charge")
    qos: _Word | None = Field(None, description="Quality of service")
    constraint: _Word | None = Field(None, description='Features of the nodes, such as "a100"')
    setup: tuple[_Line, ...] | None = Field(None, description="Shell lines before each job, such as `module load cuda`")


class Cluster(Asked):
    """``[cluster]``."""

    time: _Minutes = Field(60, description="Minutes after which a job is queued again, to continue")
    jobs: PositiveInt = Field(100, description="Most jobs in the queue at once")
    requeues: NonNegativeInt = Field(20, description="How often a job continues after its time is over")
    poll: PositiveInt = Field(5, description="Least seconds between two looks at the queue")
    train: Asked = Field(default_factory=Asked, description="Instead of the above, for training")
    predict: Asked = Field(default_factory=Asked, description="Instead of the above, for predictions")
    evaluate: Asked = Field(default_factory=Asked, description="Instead of the above, for evaluations")

    def asked(self, kind: Kind, *, network: bool = True) -> Asked:
        """What jobs of a kind ask for; one that uses no network asks for no GPU."""
        own: Asked = getattr(self, kind)
        values = {name: getattr(self, name) for name in Asked.model_fields}
        values |= {name: value for name, value in own if value is not None}
        if not network:
            values["gpus"] = None
        return Asked(**values)
