"""One training iteration of JEM and of GMMC (Gen) in the way of their released code, re-created for comparison.

Written from the description of the protocol (sections 1.1 and 3.2 to 3.4), not copied. Kept from the originals: modules
that do nothing where norms and dropout are off, activations that are not in place, NCHW memory, a replay
buffer in host memory, eval and train toggles around the sampler, ``retain_graph`` in every sampler step, GMMC's chain
of clamped tensors that are no leaves, one forward pass each for real, sampled and labelled images, and a loss that
the host reads in every iteration.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Network", "OriginalGMMC", "OriginalJEM"]


class _Block(nn.Module):
    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.dropout = nn.Identity(), nn.Identity(), nn.Identity()
        self.activation = nn.LeakyReLU(0.2)
        self.conv1 = nn.Conv2d(entering, leaving, 3, padding=1)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, stride=stride, padding=1)
        self.shortcut: nn.Module = nn.Sequential()
        if stride != 1 or entering != leaving:
            self.shortcut = nn.Conv2d(entering, leaving, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout(self.conv1(self.activation(self.norm1(x))))
        h = self.conv2(self.activation(self.norm2(h)))
        total: Tensor = h + self.shortcut(x)
        return total


class Network(nn.Module):
    """Wide-ResNet on the [-1, 1] scale for 32x32 images; the names are ours, so that weights can be shared.

    Args:
        depth, width: Of the name ``wrn-<depth>-<width>``.
        channels: Of the images.
    """

    def __init__(self, depth: int, width: int, channels: int = 3) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        self.blocks = nn.Sequential()
        entering = 16
        for stage, (leaving, stride) in enumerate(((16 * width, 1), (32 * width, 2), (64 * width, 2)), start=1):
            for block in range(blocks):
                name = f"stage{stage}_block{block + 1}"
                self.blocks.add_module(name, _Block(entering, leaving, stride if block == 0 else 1))
                entering = leaving
        self.norm, self.activation, self.feature_dim = nn.Identity(), nn.LeakyReLU(0.2), entering

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, 64 width) of images (N, C, 32, 32)."""
        h = self.activation(self.norm(self.blocks(self.stem(x))))
        return F.avg_pool2d(h, 8).flatten(1)


class _Original:
    """The common part of both originals: network, optimiser, and a buffer on the host."""

    def __init__(self, network: Network, modules: nn.Module, *, buffer: int, reinit: float, classes: int) -> None:
        self.network, self.reinit, self.classes = network, reinit, classes
        self.device = next(network.parameters()).device
        self.optimizer = torch.optim.Adam(modules.parameters(), lr=1e-4, betas=(0.9, 0.999))
        self.images = torch.empty(buffer, network.stem.in_channels, 32, 32).uniform_(-1, 1)
        self.labels = torch.randint(classes, (buffer,))

    def chains(self, n: int, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Slots of the buffer and the start of their chains: the buffer, or with probability ``reinit`` noise."""
        if labels is None:
            slots = torch.randint(len(self.images), (n,))
        else:
            partition = len(self.images) // self.classes
            slots = labels.cpu() * partition + torch.randint(partition, (n,))
        noise = torch.empty(n, *self.images.shape[1:]).uniform_(-1, 1)
        fresh = (torch.rand(n) < self.reinit).float()[:, None, None, None]
        return slots, (fresh * noise + (1 - fresh) * self.images[slots]).to(self.device)

    def update(self, loss: Tensor) -> float:
        """Take a step of the optimiser and copy the loss to the host."""
        value = loss.item()
        if abs(value) > 1e8:
            raise FloatingPointError(value)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return value


class OriginalJEM(_Original):
    """SGLD on log-sum-exp, then p(x) and p(y|x) from three forward passes."""

    def __init__(self, network: Network, head: nn.Linear, *, steps: int, buffer: int) -> None:
        super().__init__(network, nn.ModuleList([network, head]), buffer=buffer, reinit=0.05, classes=head.out_features)
        self.head, self.steps = head, steps

    def log_density(self, x: Tensor) -> Tensor:
        """Log p(x) + c."""
        return torch.logsumexp(self.head(self.network(x)), dim=1)

    def sample(self, n: int) -> Tensor:
        """One call of the sampler."""
        self.network.eval()
        slots, start = self.chains(n, None)
        x = start.clone().requires_grad_()
        for _ in range(self.steps):
            (gradient,) = torch.autograd.grad(self.log_density(x).sum(), [x], retain_graph=True)
            x.data += 1.0 * gradient + 0.01 * torch.randn_like(x)
        self.network.train()
        final = x.detach()
        self.images[slots] = final.cpu()
        return final

    def iteration(self, host: Mapping[str, Tensor]) -> float:
        """``host``: ``density``, ``images`` and ``labels`` as the loaders leave them in host memory."""
        real = host["density"].to(self.device)
        images, labels = host["images"].to(self.device), host["labels"].to(self.device)
        sampled = self.sample(len(real))
        px = -(self.log_density(real).mean() - self.log_density(sampled).mean())
        pyx = F.cross_entropy(self.head(self.network(images)), labels)
        return self.update(px + pyx)


class OriginalGMMC(_Original):
    """Staged sampling to the centers of the real batch's labels, then fp - 0.5 fq from two forward passes."""

    def __init__(self, network: Network, centers: Tensor, *, steps: int, buffer: int) -> None:
        super().__init__(network, network, buffer=buffer, reinit=0.025, classes=len(centers))
        self.centers, self.steps = centers, steps

    def energy(self, x: Tensor, targets: Tensor) -> Tensor:
        """The mean over the batch, for training and for sampling."""
        mean: Tensor = (0.5 * (self.network(x) - targets).pow(2).sum(dim=1)).mean()
        return mean

    def sample(self, labels: Tensor) -> Tensor:
        """One call of the sampler."""
        self.network.eval()
        slots, x = self.chains(len(labels), labels)
        targets = self.centers[labels]
        targets = targets + 0.001 * torch.randn_like(targets)
        x = x.requires_grad_()
        for _ in range(self.steps):
            (gradient,) = torch.autograd.grad(self.energy(x, targets), [x], retain_graph=True)
            x = torch.clamp(x - 1.0 * gradient, -1, 1)
        self.network.train()
        final = x.detach()
        self.images[slots], self.labels[slots] = final.cpu(), labels.cpu()
        return final

    def iteration(self, host: Mapping[str, Tensor]) -> float:
        """``host``: ``images`` and ``labels`` as the loader leaves them in host memory."""
        images, labels = host["images"].to(self.device), host["labels"].to(self.device)
        sampled = self.sample(labels)
        fp = self.energy(images, self.centers[labels])
        fq = self.energy(sampled, self.centers[labels])
        return self.update(fp - 0.5 * fq)
