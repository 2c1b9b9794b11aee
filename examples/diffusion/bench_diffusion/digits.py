"""Train a diffusion model on digits and write its samples: ``bench-diffusion --out ddpm.npz``.

Denoising diffusion (Ho et al. 2020) given the class, sampled by DDIM (Song et al. 2021). The network, the schedule of
the noise and the sampler are those of diffusers. Equal arguments give equal samples on one machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor

from bench.data.loading import load_splits
from bench.data.registry import DATASETS
from bench.rng import seeded

__all__ = ["generate", "main", "network", "scheduler", "train"]

CLASSES = 10
TIMES = 1000
"""Steps of the noise schedule."""


def network() -> UNet2DModel:
    """A U-Net for 8x8 grey images on the [-1, 1] scale, conditional on the class."""
    return UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        num_class_embeds=CLASSES,
    )


def scheduler() -> DDIMScheduler:
    """The cosine schedule of the noise; the network predicts the noise."""
    return DDIMScheduler(num_train_timesteps=TIMES, beta_schedule="squaredcos_cap_v2")


def train(
    images: Tensor, labels: Tensor, *, steps: int, batch_size: int = 64, lr: float = 3e-3, average: float = 0.995
) -> UNet2DModel:
    """A trained network in eval mode, with averaged weights. Draws from torch's global generator.

    Args:
        images: (N, 1, 8, 8) in [0, 1].
        labels: (N,) int64.
        steps: Updates.
        batch_size: Images of an update.
        lr: Learning rate, which falls to 0 along a cosine.
        average: Decay of the moving average of weights.
    """
    model, noise_schedule = network(), scheduler()
    decayed = torch.optim.swa_utils.get_ema_multi_avg_fn(average)  # type: ignore[no-untyped-call]
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=decayed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        chosen = torch.randint(len(images), (batch_size,))
        clean, noise = 2 * images[chosen] - 1, torch.randn(batch_size, *images.shape[1:])
        times = torch.randint(TIMES, (batch_size,))
        noisy = noise_schedule.add_noise(clean, noise, times)
        loss = F.mse_loss(model(noisy, times, class_labels=labels[chosen]).sample, noise)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        decay.step()
        averaged.update_parameters(model)
    found: UNet2DModel = averaged.module
    return found.eval()


@torch.no_grad()
def generate(model: UNet2DModel, count: int, *, steps: int, batch: int = 500) -> tuple[Tensor, Tensor]:
    """Images (count, 1, 8, 8) in [0, 1] with classes in turn, and these classes. Draws from the global generator.

    Args:
        model: The network.
        count: Number of images.
        steps: Steps of DDIM for an image.
        batch: Images at once.
    """
    noise_schedule = scheduler()
    noise_schedule.set_timesteps(steps)
    labels = torch.arange(count) % CLASSES
    pieces = []
    for part in torch.split(labels, batch):
        x = torch.randn(len(part), 1, 8, 8)
        for time in noise_schedule.timesteps:
            predicted = model(x, time, class_labels=part).sample
            x = noise_schedule.step(predicted, time, x).prev_sample
        pieces.append((x + 1) / 2)
    return torch.cat(pieces).clamp(0, 1), labels


def main(arguments: list[str] | None = None) -> None:
    """Train on the training items of a suite on digits, and write the samples."""
    parser = argparse.ArgumentParser(description="Train a diffusion model on digits and write its samples.")
    parser.add_argument("--out", type=Path, required=True, help="archive to write, .npz with images and labels")
    parser.add_argument("--seed", type=int, default=1, help="seed of training and samples (default 1)")
    parser.add_argument("--data-seed", type=int, default=2, help="[data] seed of the suite (default 2)")
    parser.add_argument("--validation", type=int, default=200, help="[data] validation of the suite (default 200)")
    parser.add_argument("--count", type=int, default=1000, help="images to generate (default 1000)")
    parser.add_argument("--updates", type=int, default=1500, help="updates of training (default 1500)")
    parser.add_argument("--steps", type=int, default=25, help="steps of DDIM for an image (default 25)")
    given = parser.parse_args(arguments)
    if given.out.suffix != ".npz":
        parser.error(f"--out {given.out}: the suite reads an .npz archive")
    splits = load_splits(DATASETS.get("digits"), Path(), seed=given.data_seed, validation=given.validation)
    images = torch.from_numpy(splits.train.unit_images())
    labels = torch.from_numpy(splits.train.labels)
    with seeded(given.seed):
        model = train(images, labels, steps=given.updates)
        made, classes = generate(model, given.count, steps=given.steps)
    pixels = (made * 255).round().to(torch.uint8).numpy()
    np.savez_compressed(given.out, images=pixels, labels=classes.numpy())
    print(f"{given.count} images in {given.out}")


if __name__ == "__main__":
    main()
