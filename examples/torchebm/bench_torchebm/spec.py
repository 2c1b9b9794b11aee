"""What planning needs to know of the family. It imports neither torch nor torchebm."""

from __future__ import annotations

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bench.spec import FamilySpec, UnlabelledConfig

__all__ = ["PCD", "PCDConfig"]


class PCDConfig(UnlabelledConfig):
    """Hyper-parameters of persistent contrastive divergence; those of the optimiser are inherited."""

    steps: PositiveInt = Field(10, description="Langevin steps of an update")
    step_size: PositiveFloat = Field(1.0, description="Langevin step size h, for images on the [-1, 1] scale")
    noise_scale: PositiveFloat = Field(0.007, description="s: a step adds noise of standard deviation s sqrt(2 h)")
    buffer: PositiveInt = Field(1000, description="Images that persistent chains keep")
    energy_penalty: NonNegativeFloat = Field(0.1, description="Weight of the mean squared energies in the loss")


PCD = FamilySpec(
    name="torchebm-pcd",
    label="EBM (torchebm)",
    summary="Energy of a backbone, trained by persistent contrastive divergence; density up to a constant.",
    source="Tieleman, ICML 2008; Du and Mordatch, NeurIPS 2019; torchebm",
    config=PCDConfig,
    implementation="bench_torchebm.model:PersistentCD",
    classifies=False,
    capabilities=frozenset({"density", "samples"}),
    passes=lambda config: 2.0 * config.steps + 6.0,
    training_only=frozenset({"buffer", "energy_penalty"}),
)
