"""Samplers that move images along input gradients, and their sources of noise.

Images are in the model's space, usually [-1, 1]. Networks are callables that are only evaluated: their parameters get
no gradients, and their flags and modes do not change. Networks with batch norm or dropout must be in eval mode. Row i
of a result depends only on row i of the arguments if this holds for the callable. No function waits for the device.
Values that are not finite are returned unchanged; the caller must handle them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bench.rng import signed64, splitmix64, top_bits

__all__ = ["NoiseFn", "generator_noise", "indexed_noise", "indexed_normal", "indexed_uniform", "regress_to", "sgld"]

NoiseFn = Callable[[int, tuple[int, ...]], Tensor]
"""``noise(step, shape)``: standard normal noise for one step, rows first; steps count from 0."""


def sgld(
    log_density: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    steps: int,
    step_size: float,
    noise: float,
    noise_fn: NoiseFn | None = None,
    decay_power: float = 0.0,
    bound: float | None = None,
    clamp: tuple[float, float] | None = None,
) -> Tensor:
    """Langevin dynamics, by default with constant step and noise, as in the JEM code.

        x <- x + step_size * d/dx sum_i log p(x_i) + noise * N(0, 1)

    With a ``bound`` it is the proximal SGLD of JEM++: every component of the gradient is clamped to [-bound, bound], so
    that a step without its noise stays in the L_inf ball of radius ``step_size * bound``.

    Step and noise are independent parameters (JEM: 1 and 0.01), not alpha/2 and sqrt(alpha) as in exact SGLD.

    Args:
        log_density: (N, C, H, W) -> (N,), log p(x) or log p(x, y) up to a constant.
        start: (N, C, H, W), not changed.
        steps: Number of steps; 0 returns a copy of ``start``.
        step_size: Factor of the gradient of each image's own log density.
        noise: Standard deviation of the noise of one step.
        noise_fn: Source of the noise; may be None only if ``noise`` is 0.
        decay_power: Step t (from 0) has step size and noise times (1 + t)^-decay_power (JEM paper, Eq. 3).
        bound: Largest absolute value of a component of the gradient, positive, or None.
        clamp: (low, high) to clamp to after every step, or None (as in the JEM code).

    Returns:
        (N, C, H, W), a new tensor without graph.

    Raises:
        ValueError: An argument is invalid, or ``log_density`` does not return shape (N,).
    """
    _check(start, steps, step_size, clamp)
    if not (math.isfinite(noise) and noise >= 0):
        raise ValueError(f"noise must be finite and not negative, got {noise}")
    if noise > 0 and noise_fn is None:
        raise ValueError(f"noise {noise} needs a noise_fn to come from (generator_noise or indexed_noise)")
    if bound is not None and not bound > 0:
        raise ValueError(f"bound must be positive, got {bound}")
    # The caller may be in no_grad or inference mode, which the input gradient does not allow.
    with torch.inference_mode(False), torch.enable_grad():
        x = start.detach().clone()
        for step in range(steps):
            leaf = x.detach().requires_grad_()
            density = log_density(leaf)
            if density.shape != (len(x),):
                raise ValueError(
                    f"log_density must return one value an image, shape ({len(x)},); got {tuple(density.shape)}"
                )
            (gradient,) = torch.autograd.grad(density.sum(), leaf)
            if bound is not None:
                gradient = gradient.clamp(-bound, bound)
            factor = (1.0 + step) ** -decay_power
            x.add_(gradient, alpha=step_size * factor)
            if noise > 0 and noise_fn is not None:
                x.add_(noise_fn(step, tuple(x.shape)), alpha=noise * factor)
            if clamp is not None:
                x.clamp_(*clamp)
    return x


def regress_to(
    features: Callable[[Tensor], Tensor],
    start: Tensor,
    targets: Tensor | Callable[[int], Tensor],
    *,
    steps: int,
    step_size: float = 1 / 64,
    clamp: tuple[float, float] | None = (-1.0, 1.0),
) -> Tensor:
    """Move images so that their features approach their targets: the sampler of GMMC (paper, Eq. 8 and 10).

        x <- clamp(x - step_size * d/dx sum_i 0.5 ||phi(x_i) - z_i||^2)

    Fixed targets z = mu_y + gamma eps give the paper's staged sampling; targets that are redrawn in every step give its
    noise-injected sampling. ``step_size`` applies to each image and does not depend on the batch. The original code
    takes the mean over the batch with step 1, which means 1/64 at its batch size of 64; this is the default.

    Args:
        features: phi, (N, C, H, W) -> (N, d).
        start: (N, C, H, W), not changed.
        targets: z, (N, d), or a callable that returns them for a step (from 0).
        steps: Number of steps; 0 returns a copy of ``start``.
        step_size: Factor of the gradient of each image's own 0.5 ||phi(x) - z||^2.
        clamp: (low, high) to clamp to after every step (the original code; not in the paper), or None.

    Returns:
        (N, C, H, W), a new tensor without graph.

    Raises:
        ValueError: An argument is invalid, or targets and features differ in shape.
    """
    _check(start, steps, step_size, clamp)
    with torch.inference_mode(False), torch.enable_grad():
        x = start.detach().clone()
        for step in range(steps):
            target = targets(step) if callable(targets) else targets
            leaf = x.detach().requires_grad_()
            phi = features(leaf)
            if phi.ndim != 2 or len(phi) != len(x) or phi.shape != target.shape:
                raise ValueError(
                    f"features and targets must both have shape ({len(x)}, d); "
                    f"got {tuple(phi.shape)} and {tuple(target.shape)}"
                )
            # d/dx 0.5 ||phi - z||^2 = J^T (phi - z): the backward pass starts from the residual.
            residual = (phi.detach() - target.detach()).to(phi.dtype)
            (gradient,) = torch.autograd.grad(phi, leaf, grad_outputs=residual)
            x.sub_(gradient, alpha=step_size)
            if clamp is not None:
                x.clamp_(*clamp)
    return x


def generator_noise(generator: torch.Generator, device: torch.device | str) -> NoiseFn:
    """Noise for training, from a generator whose state is part of checkpoints.

    It is drawn on the device of the generator, so a generator on the CPU gives the same noise for every device, at the
    cost of one copy per step.
    """
    device = torch.device(device)

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:  # noqa: ARG001 - the generator knows where it is
        drawn = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)
        return drawn.to(device, non_blocking=True)

    return noise


def indexed_noise(seed: int, indices: Tensor, device: torch.device | str) -> NoiseFn:
    """Noise for evaluation: element e of row i in step t depends on (seed, indices[i], t, e) alone.

    So the noise of an item does not depend on the rest of its batch. Elements are counted within a row, last dimension
    fastest. The generator is counter-based: the finaliser of SplitMix64 (Steele et al. 2014) over a chain of seed,
    index, step and element, then the Box-Muller transform in float64. Absolute values stay below 6.8.

    Args:
        seed: Any integer, taken modulo 2^64.
        indices: (N,) integers, the identities of the rows.
        device: Device of the noise.

    Raises:
        ValueError: ``indices`` are not one-dimensional integers. The returned function raises it if the number of rows
            is not N.
    """
    keys = _row_keys(_NORMAL, seed, indices, device)

    def noise(step: int, shape: tuple[int, ...]) -> Tensor:
        if not shape or shape[0] != len(keys):
            raise ValueError(f"noise is for {len(keys)} indices, so its shape must start with that; got {shape}")
        return _normal(splitmix64(keys, step), math.prod(shape[1:])).reshape(shape)

    return noise


def indexed_normal(seed: int, indices: Tensor, shape: Sequence[int], device: torch.device | str) -> Tensor:
    """Standard normal noise for starts: element e of row i depends on (seed, indices[i], e) alone.

    It is independent of ``indexed_noise`` and ``indexed_uniform`` with the same seed and indices.

    Args:
        seed: Any integer, taken modulo 2^64.
        indices: (N,) integers, the identities of the rows.
        shape: Shape of one row, for example (C, H, W).
        device: Device of the noise.

    Returns:
        (N, *shape) float32.

    Raises:
        ValueError: ``indices`` are not one-dimensional integers.
    """
    keys = _row_keys(_NORMAL_START, seed, indices, device)
    return _normal(keys, math.prod(shape)).reshape(len(keys), *shape)


def indexed_uniform(
    seed: int,
    indices: Tensor,
    shape: Sequence[int],
    device: torch.device | str,
) -> Tensor:
    """Uniform noise for starts: element e of row i depends on (seed, indices[i], e) alone.

    It is independent of ``indexed_noise`` with the same seed and indices.

    Args:
        seed: Any integer, taken modulo 2^64.
        indices: (N,) integers, the identities of the rows.
        shape: Shape of one row, for example (C, H, W).
        device: Device of the noise.

    Returns:
        (N, *shape) float32 in [-1, 1], in 2^24 equal steps.

    Raises:
        ValueError: ``indices`` are not one-dimensional integers.
    """
    keys = _row_keys(_UNIFORM, seed, indices, device)
    bits = splitmix64(keys[:, None], torch.arange(math.prod(shape), device=keys.device))
    return (top_bits(bits, 24).double() * 2.0**-23 - 1).float().reshape(len(keys), *shape)


def _check(start: Tensor, steps: int, step_size: float, clamp: tuple[float, float] | None) -> None:
    if start.ndim != 4 or not start.is_floating_point():
        raise ValueError(
            f"start must be floating point images (N, C, H, W), got {start.dtype} of shape {tuple(start.shape)}"
        )
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    if not (math.isfinite(step_size) and step_size >= 0):
        raise ValueError(f"step_size must be finite and not negative, got {step_size}")
    if clamp is not None and not clamp[0] < clamp[1]:
        raise ValueError(f"clamp must be (low, high) with low < high, got {clamp}")


# Separate streams of one seed.
_NORMAL, _UNIFORM, _NORMAL_START = 0, 1, 2


def _normal(keys: Tensor, count: int) -> Tensor:
    """(N, count) standard normal float32 values from (N,) keys, by the Box-Muller transform."""
    bits = splitmix64(keys[:, None], torch.arange((count + 1) // 2, device=keys.device))
    # Shifted by half a step, so that the logarithm is finite.
    radius = torch.sqrt(-2 * torch.log((top_bits(bits, 32).double() + 0.5) * 2.0**-32))
    angle = (bits & 0xFFFFFFFF).double() * (2 * math.pi * 2.0**-32)
    pairs = torch.stack((radius * torch.cos(angle), radius * torch.sin(angle)), dim=-1)
    return pairs.flatten(1)[:, :count].float()


def _row_keys(stream: int, seed: int, indices: Tensor, device: torch.device | str) -> Tensor:
    """(N,) int64, one key for each (stream, seed, index)."""
    integral = not (indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool)
    if indices.ndim != 1 or not integral:
        raise ValueError(f"indices must be integers of shape (N,), got {indices.dtype} of shape {tuple(indices.shape)}")
    seed_key = splitmix64(torch.full((1,), signed64(seed), dtype=torch.int64, device=device), stream)
    return splitmix64(seed_key, indices.to(device, torch.int64))
