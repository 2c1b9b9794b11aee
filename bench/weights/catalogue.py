"""The built-in families and backbones: those that bring models made elsewhere."""

from __future__ import annotations

from bench.weights.module_spec import MODULE, NO_BACKBONE
from bench.weights.samples_spec import SAMPLES

__all__ = ["BACKBONES", "FAMILIES"]

FAMILIES, BACKBONES = (MODULE, SAMPLES), (NO_BACKBONE,)
