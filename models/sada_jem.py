"""SADA-JEM: JEM++ with sharpness-aware steps, and without augmentation of the images of p(x)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.family import StreamSpec, Update

from .jem_pp import JEMPP
from .networks import constant_statistics
from .successor_configs import SADAJEMConfig

__all__ = ["SADAJEM"]


class SADAJEM(JEMPP):
    """JEM++ with sharpness-aware steps, whose two gradients are of the same batches and samples."""

    config: SADAJEMConfig

    def streams(self) -> Mapping[str, StreamSpec]:
        """``train`` has labels, is used for p(y|x), and defines the epoch; ``density`` is used for p(x)."""
        both = super().streams()
        return {"train": both["train"], "density": both["density"]}

    def update(self, model: Any, update: Update) -> None:
        """SAM, or adaptive SAM. The second pass leaves the running statistics of batch normalisation as they are."""
        again = update.step.again
        assert again is not None
        update.backward()
        with update.ascended(self.config.rho, adaptive=self.config.adaptive), constant_statistics(model):
            update.backward(again())
        update.apply()
