"""A backbone in bfloat16: the pass itself, shared by training and attacks, and which devices have it.

Only the backbone runs in bfloat16 (Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning Training"), under
``torch.autocast``: weights stay float32 and are rounded for each pass. Features are converted to float32, and heads,
energies and losses are float32: a logit of GMMC is half a squared distance, about 50 at the start for centers of norm
10, which 8 bits round by up to 0.125, and the cost of a head is negligible. The exponent has the range of float32, so
no loss scaling against underflow is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Pass", "bf16_pass", "check_bf16", "computes_bf16", "replaced_forward"]

Pass = Callable[[Tensor], Tensor]


def bf16_pass(forward: Pass, device_type: str) -> Pass:
    """The forward pass of a backbone in bfloat16, with outputs in float32.

    Args:
        forward: Its pass, images (N, C, H, W) -> features (N, d).
        device_type: Where it runs, such as ``"cpu"``.
    """

    def run(images: Tensor) -> Tensor:
        with torch.autocast(device_type, torch.bfloat16):
            features = forward(images)
        return features.to(torch.promote_types(features.dtype, torch.float32))

    return run


@contextmanager
def replaced_forward(module: nn.Module, forward: Pass) -> Iterator[None]:
    """Replace the forward pass of one module; its class, its hooks and the names in its state dict do not change."""
    attributes = module.__dict__
    before = attributes.get("forward")
    attributes["forward"] = forward
    try:
        yield
    finally:
        if before is None:
            del attributes["forward"]
        else:
            attributes["forward"] = before


def check_bf16(device: torch.device) -> None:
    """Check that a GPU has bfloat16. Every CPU supports it, possibly slowly.

    Raises:
        ValueError: The GPU only emulates bfloat16.
    """
    if device.type == "cuda" and not computes_bf16(device):
        raise ValueError(
            f"precision bf16: {torch.cuda.get_device_name(device)} has no bfloat16 (NVIDIA: since Ampere); use float32"
        )


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, so that it is faster than float32 and not emulated.

    A CPU needs AVX512-BF16 or AMX (x86); torch says of no other kind of CPU whether it has them.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False
