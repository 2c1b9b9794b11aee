"""Own attacks against those of torchattacks and foolbox: time, forward passes and what they find.

    python benchmarks/attacks.py [--rounds 3] [--images 64]

All run interleaved (each round runs every variant once), on one thread, under the allocator settings of the harness's
workers, on a small Wide ResNet that is trained on 32x32 digits first. Libraries run on the plain model, as their users
run them; times of own attacks include the judge. Times are medians over the rounds of the processor time, which other
load on the machine disturbs less than it does the clock.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "67108864",
    "OMP_NUM_THREADS": "1",
}
SWEEP = (4, 8, 16, 32)


@dataclass
class Subject:
    """A model under attack that counts what goes through it.

    Attributes:
        model: The network, in eval mode.
        images: (N, 3, 32, 32), all classified correctly.
        labels: (N,).
        forwards: Images that went forward since the last reset.
    """

    model: Any
    images: Any
    labels: Any
    forwards: int = 0

    def __post_init__(self) -> None:
        self.model.register_forward_hook(self._count)

    def _count(self, *arguments: Any) -> None:
        self.forwards += len(arguments[-1])

    def survivors(self, adversarials: Any) -> float:
        """Share of images that are still classified correctly."""
        import torch

        with torch.no_grad():
            return float((self.model(adversarials).argmax(dim=1) == self.labels).float().mean())


@dataclass
class Row:
    """What one variant did: seconds of each round, forwards per image, and a measure of strength."""

    name: str
    seconds: list[float] = field(default_factory=list)
    forwards: float = 0.0
    found: float = 0.0


def make_subject(images: int) -> Subject:
    """A WRN-10-1 without normalisation, trained for some seconds, and test images that it gets right."""
    import torch
    import torch.nn.functional as F
    from bench_models.wide_resnet import build
    from sklearn.datasets import load_digits
    from torch import nn

    torch.manual_seed(0)
    digits = load_digits()
    pixels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    pixels = F.interpolate(pixels, size=32, mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    labels = torch.tensor(digits.target)
    order = torch.randperm(len(labels))
    backbone = build("wrn-10-1", 3)
    model = nn.Sequential(backbone, nn.Linear(int(backbone.feature_dim), 10))  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    train, test = order[:1200], order[1200:]
    for _ in range(5):
        for batch in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(2 * pixels[batch] - 1), labels[batch]).backward()
            optimizer.step()

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.network(2 * x - 1)
            return logits

    scaled = Scaled().eval()
    with torch.no_grad():
        correct = test[scaled(pixels[test]).argmax(dim=1) == labels[test]][:images]
    return Subject(scaled, pixels[correct], labels[correct])


def compare(subject: Subject, variants: dict[str, Callable[[], float]], rounds: int) -> list[Row]:
    """Run every variant once a round; a variant returns its measure of strength."""
    rows = {name: Row(name) for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            subject.forwards = 0
            began = time.process_time()
            found = variant()
            rows[name].seconds.append(time.process_time() - began)
            rows[name].forwards = subject.forwards / len(subject.images)
            rows[name].found = found
    return list(rows.values())


def show(title: str, rows: list[Row], measure: str) -> None:
    """Print a table in Markdown; ratios are of medians to that of the first row, the library."""
    base = statistics.median(rows[0].seconds)
    print(f"\n**{title}**\n")
    print(f"| variant | seconds (median) | range | times faster | forwards per image | {measure} |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in rows:
        median = statistics.median(row.seconds)
        spread = f"{min(row.seconds):.2f}-{max(row.seconds):.2f}"
        print(f"| {row.name} | {median:.2f} | {spread} | {base / median:.2f} | {row.forwards:.1f} | {row.found:.4f} |")


def pgd_variants(subject: Subject, eps: float) -> dict[str, Callable[[], float]]:
    """PGD-40 with cross-entropy at one budget."""
    from bench import attacks
    from bench.attacks.library import load

    foolbox, torchattacks = load("foolbox"), load("torchattacks")

    images, labels = subject.images, subject.labels

    def torchattacks_pgd() -> float:
        attack = torchattacks.PGD(subject.model, eps=eps, alpha=eps / 30, steps=40)
        return subject.survivors(attack(images, labels))

    def foolbox_pgd() -> float:
        attack = foolbox.attacks.LinfPGD(rel_stepsize=1 / 30, steps=40)
        wrapped = foolbox.PyTorchModel(subject.model, bounds=(0, 1), device="cpu")
        _, clipped, _ = attack(wrapped, images, labels, epsilons=eps)
        return subject.survivors(clipped)

    def own(*, survivors_only: bool) -> float:
        result = attacks.run(
            "pgd", subject.model, images, labels, norm="linf", eps=eps, seed=0, batch_size=len(images), iterate="any",
            survivors_only=survivors_only,
        )  # fmt: skip
        return float(result.robust_accuracy)

    return {
        "torchattacks.PGD": torchattacks_pgd,
        "foolbox.LinfPGD": foolbox_pgd,
        "own, all images": lambda: own(survivors_only=False),
        "own, survivors only": lambda: own(survivors_only=True),
    }


def bound(subject: Subject) -> Callable[[], float]:
    """Eighty forward passes: what 40 steps cost if an input gradient were no dearer than a forward pass."""
    import torch

    def run() -> float:
        images = subject.images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            for _ in range(80):
                subject.model(images)
        return 1.0

    return run


def sweep_variants(subject: Subject) -> dict[str, Callable[[], float]]:
    """Four budgets: four library runs, or one chained sweep."""
    from bench.attacks.library import load
    from bench.attacks.worst_case import eps_sweep

    torchattacks = load("torchattacks")

    def library() -> float:
        left = 0.0
        for eps in SWEEP:
            attack = torchattacks.PGD(subject.model, eps=eps / 255, alpha=eps / 255 / 30, steps=40)
            left += subject.survivors(attack(subject.images, subject.labels)) / len(SWEEP)
        return left

    def own() -> float:
        sweep = eps_sweep(
            "pgd", subject.model, subject.images, subject.labels, norm="linf", eps=[eps / 255 for eps in SWEEP],
            seed=0, batch_size=len(subject.images), iterate="any", survivors_only=True,
        )  # fmt: skip
        return float(sweep.robust.mean())

    return {"torchattacks.PGD, four runs": library, "own, chained": own}


def cw_variants(subject: Subject) -> dict[str, Callable[[], float]]:
    """C&W L2, 100 iterations at c = 1, no binary search; the measure is the mean L2 of successes."""
    from bench import attacks
    from bench.attacks.library import load

    foolbox, torchattacks = load("foolbox"), load("torchattacks")

    images, labels = subject.images, subject.labels

    def mean_l2(adversarials: Any) -> float:
        import torch

        with torch.no_grad():
            broken = subject.model(adversarials).argmax(dim=1) != labels
        # A library may return an all-zero image where it failed, which can have another class.
        broken &= (adversarials != 0).flatten(1).any(dim=1)
        return float((adversarials - images).flatten(1).norm(dim=1)[broken].mean())

    def torchattacks_cw() -> float:
        return mean_l2(torchattacks.CW(subject.model, c=1, lr=0.01, steps=100)(images, labels))

    def foolbox_cw() -> float:
        attack = foolbox.attacks.L2CarliniWagnerAttack(
            binary_search_steps=1, steps=100, stepsize=0.01, initial_const=1.0, abort_early=False
        )
        wrapped = foolbox.PyTorchModel(subject.model, bounds=(0, 1), device="cpu")
        _, clipped, _ = attack(wrapped, images, labels, epsilons=None)
        return mean_l2(clipped)

    def own() -> float:
        result = attacks.run(
            "cw_l2", subject.model, images, labels, norm="l2", seed=0, batch_size=len(images), rounds=1, c0=1.0
        )
        return float(result.l2[result.success].mean())

    return {"torchattacks.CW": torchattacks_cw, "foolbox.L2CarliniWagner": foolbox_cw, "own cw_l2": own}


def main() -> None:
    """Measure everything and print the tables of benchmarks/README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--eps", default="40/255", help="budget at which few images survive")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    import torch

    from bench.attacks import parse_eps

    torch.set_num_threads(1)
    subject = make_subject(arguments.images)
    print(f"torch {torch.__version__}, one thread, {len(subject.images)} images of 3x32x32, {arguments.rounds} rounds")
    rounds = arguments.rounds
    weak = {**pgd_variants(subject, 1e-6), "80 forward passes": bound(subject)}
    show("PGD-40, no image is broken (eps = 1e-6)", compare(subject, weak, rounds), "survivors")
    strong = pgd_variants(subject, parse_eps(arguments.eps))
    show(f"PGD-40, eps = {arguments.eps}", compare(subject, strong, rounds), "survivors")
    show("PGD-40 at 4, 8, 16, 32/255", compare(subject, sweep_variants(subject), rounds), "mean survivors")
    rows = compare(subject, cw_variants(subject), rounds)
    show("C&W L2, 100 iterations, c = 1", rows, "mean L2")
    print("\n| variant | ms per iteration |\n|---|---:|")
    for row in rows:
        # A library evaluates its success once more, and own attacks are judged; that is a percent or two.
        print(f"| {row.name} | {1e3 * statistics.median(row.seconds) / row.forwards:.1f} |")


if __name__ == "__main__":
    main()
