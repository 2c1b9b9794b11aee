"""Samplers that move images along input gradients.

Images are in the model's space, usually [-1, 1]. Networks are callables that are only evaluated: their parameters get
no gradients, and their flags and modes do not change. Networks with batch norm or dropout must be in eval mode. Row i
of a result depends only on row i of the arguments if this holds for the callable. No function waits for the device.
Values that are not finite are returned unchanged; the caller must handle them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.rng import NoiseFn

__all__ = ["regress_to", "sgld"]


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
        raise ValueError(f"noise {noise} needs a noise_fn to come from (bench.rng.indexed_noise)")
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
