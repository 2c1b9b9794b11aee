"""Random numbers: every seed and every generator of the harness.

A number depends on its key alone, not on the process, on earlier computations or, but for rounding, on the device.

- `bench.rng.seeds`: seeds of purposes, and generators that depend on the data seed.
- `bench.rng.indexed` and `bench.rng.starts`: counter-based draws for training, samplers and attacks. A value depends on
  (seed, item, step, element) and never on the batch; `bench.rng.splitmix` is their generator.
- `bench.rng.process`: the global generators of Python, NumPy and torch, from which layers such as dropout and many
  plug-ins draw. While such code runs, the harness replaces them by generators of a declared seed.
"""

from bench.rng.indexed import (
    NoiseFn,
    indexed_integers,
    indexed_noise,
    indexed_normal,
    indexed_uniform,
    indexed_unit,
    permutation,
)
from bench.rng.process import Generators, preserved, seeded
from bench.rng.seeds import derive_seed, derived_seed, generator
from bench.rng.starts import uniform, uniform_in_ball

__all__ = [
    "Generators",
    "NoiseFn",
    "derive_seed",
    "derived_seed",
    "generator",
    "indexed_integers",
    "indexed_noise",
    "indexed_normal",
    "indexed_uniform",
    "indexed_unit",
    "permutation",
    "preserved",
    "seeded",
    "uniform",
    "uniform_in_ball",
]
