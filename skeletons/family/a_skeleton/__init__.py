"""What planning needs to know of the family. It imports no torch, so that `bench list` and `bench plan` answer at once.

A suite names the family as ``"a_skeleton:SPEC"``. To register it under its name, publish it as a package with

    [project.entry-points."bench.families"]
    a-skeleton = "a_skeleton:SPEC"
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.spec import Config, FamilySpec, Task, TrainingConfig

__all__ = ["SPEC", "ASkeletonConfig", "SamplerConfig"]


class SamplerConfig(Config):
    """``[model.sampler]``. After a divergence the harness may take more ``steps`` and a smaller ``step_size``."""

    steps: PositiveInt = Field(10, description="Gradient steps of a chain in one training step")
    step_size: PositiveFloat = Field(0.2, description="Factor of the gradient of log p(x, y), pixels in [0, 1]")
    buffer: PositiveInt = Field(1000, description="Chains that are kept between training steps")
    reinit: float = Field(0.05, ge=0, le=1, description="Share of the chains that start again from noise")


class ASkeletonConfig(TrainingConfig):
    """Hyper-parameters; epochs, learning rate, warm-up, decay and input noise are inherited."""

    weight: NonNegativeFloat = Field(0.1, description="Weight of the term of p(x); 0 is plain cross-entropy")
    ridge: NonNegativeFloat = Field(0.01, description="Weight of the squared log-densities, which keeps them small")
    sampler: SamplerConfig = Field(default_factory=SamplerConfig, description="The sampler of training")


def passes(config: ASkeletonConfig) -> float:
    """Network passes for an item of an epoch: an update costs 3, for real and sampled images, a sampler step 2."""
    return 6.0 + 2.0 * config.sampler.steps


def unfit(config: ASkeletonConfig, task: Task) -> Mapping[str, str]:
    """Why the family cannot run on a task, by key."""
    if config.sampler.buffer >= task.num_classes:
        return {}
    return {"sampler.buffer": f"needs at least one chain for each of the {task.num_classes} classes"}


SPEC = FamilySpec(
    name="a-skeleton",
    label="a-skeleton",
    summary="Energy-based classifier: cross-entropy plus a term that raises p(x) of data above that of its samples.",
    source="your paper, section",
    config=ASkeletonConfig,
    implementation="a_skeleton.model:ASkeleton",
    capabilities=frozenset({"density", "samples"}),
    passes=passes,
    unfit=unfit,
    training_only=frozenset({"weight", "ridge", "sampler.buffer", "sampler.reinit"}),
    # Without `version` the source of the implementation is in every key: an edit of it trains anew. Set version = 1
    # when you publish, and raise it when a change of code changes a number.
)
