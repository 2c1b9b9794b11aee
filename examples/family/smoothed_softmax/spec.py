"""What planning needs to know of the family. It imports no torch: `bench list` and `bench plan` answer at once."""

from __future__ import annotations

from pydantic import Field

from bench.spec import FamilySpec, TrainingConfig

__all__ = ["SMOOTHED", "SmoothedConfig"]


class SmoothedConfig(TrainingConfig):
    """Hyper-parameters; epochs, learning rate, warm-up, decay and noise are inherited."""

    smoothing: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the target that is spread evenly over all K classes; 0 is plain cross-entropy",
        json_schema_extra={"paper": "0.1"},
    )


SMOOTHED = FamilySpec(
    name="smoothed-softmax",
    label="softmax, smoothed",
    summary="Linear softmax head trained by cross-entropy with label smoothing.",
    source="Szegedy et al., CVPR 2016, Sec. 7",
    config=SmoothedConfig,
    implementation="smoothed_softmax.model:SmoothedSoftmax",
    # Without `version` the source of the implementation is in every key: an edit of it trains anew. Set version = 1
    # when you publish, and raise it when a change of code changes a number.
)
