"""Speed of one training iteration of JEM and of GMMC (Gen): ours, the originals' way, and a lower bound.

    python benchmarks/sampler.py                                  # WRN-10-1 on one CPU thread
    python benchmarks/sampler.py --networks wrn-16-4 wrn-28-10 --device cuda
    python benchmarks/sampler.py --overhead                       # share of the harness in training, on digits

Each repetition measures, one after the other in one process: a forward pass F of one batch without gradient, an
iteration in the originals' way (``original_way.py``) and one of ours, for both families. So what else the machine
does meets all of them, and ratios are taken within a repetition. The bound counts 2 F a sampler step and 3 F a
batch of the update: 49 F (JEM) and 46 F (GMMC) at 20 steps.

On a CPU with one thread time is CPU time of the process, else wall time; on a GPU the device is waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from bench_models.wide_resnet_shape import parse_name
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from original_way import Network, OriginalGMMC, OriginalJEM

from bench import trained
from bench.family import Batch, Iteration

CLASSES, SHAPE = 10, (3, 32, 32)
BATCHES = {"jem": 3, "gmmc-gen": 2}
FORWARDS = 5


@dataclass
class Way:
    """A thing to measure: what it does, its seconds, and the most memory it took on a GPU."""

    name: str
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    peak: int = 0


class Clock:
    """Seconds of a call; on a GPU until the device is done.

    Args:
        device: Where the work is.
        threads: Of torch on the CPU.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self.device = device
        alone = device.type == "cpu" and threads == 1
        self.now = time.process_time if alone else time.perf_counter
        self.name = "CPU time of the process" if alone else "wall time"

    def time(self, way: Way) -> None:
        """One call."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            torch.cuda.synchronize(self.device)
        began = self.now()
        way.run()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            way.peak = max(way.peak, torch.cuda.max_memory_allocated(self.device))
        way.seconds.append(self.now() - began)


def ours(family_name: str, network: str, device: str, batch: Mapping[str, Tensor], steps: int, buffer: int) -> Any:
    """Our iteration as the training loop makes it, and the model."""
    config = {"sampler": {"steps": steps, "buffer": buffer}}
    spec = {"family": family_name, "backbone": network, "config": config, "seed": 1}
    family, model = trained.build(spec, CLASSES, SHAPE, device)
    generator = torch.Generator(device).manual_seed(1)
    state = family.start(model, generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.999))

    def unit(images: Tensor) -> Tensor:  # as streams hold them: [0, 1], on the device
        return ((images + 1) / 2).to(device).contiguous(memory_format=torch.channels_last)

    labels = batch["labels"].to(device)
    streams = {"density": Batch(unit(batch["density"]), labels), "train": Batch(unit(batch["images"]), labels)}
    batches = {name: streams[name] for name in family.streams()}
    done = 0

    def iteration() -> None:
        nonlocal done
        model.train()
        step = family.training_step(model, batches, state, Iteration(done, 0, 10**6, generator))
        # The guard reads every loss on a CPU; on a GPU it does so every 20 iterations.
        if device == "cpu" or done % 20 == 19:
            float(step.loss.detach())
        optimizer.zero_grad(set_to_none=True)
        step.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        done += 1

    return iteration, model


def theirs(family_name: str, network: str, model: Any, batch: Mapping[str, Tensor], steps: int, buffer: int) -> Any:
    """The originals' iteration on the weights of our model."""
    device = next(model.parameters()).device
    original = Network(*parse_name(network)).to(device)
    original.load_state_dict({k: v.contiguous() for k, v in model.backbone.state_dict().items()})
    with torch.no_grad():
        probe = batch["images"][:4].to(device)
        assert torch.allclose(original.eval()(probe), model.backbone(probe), rtol=1e-3, atol=1e-4), (
            "not the same network"
        )
    if family_name == "jem":
        head = nn.Linear(original.feature_dim, CLASSES).to(device)
        head.load_state_dict(model.head.state_dict())
        made: Any = OriginalJEM(original, head, steps=steps, buffer=buffer)
    else:
        made = OriginalGMMC(original, model.centers, steps=steps, buffer=buffer)
    return lambda: made.iteration(batch)


def measure(network: str, clock: Clock, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Both families on one network; one row each."""
    draw = torch.Generator().manual_seed(0)
    size = (options.batch, *SHAPE)
    batch = {
        "density": torch.rand(size, generator=draw) * 2 - 1,
        "images": torch.rand(size, generator=draw) * 2 - 1,
        "labels": torch.randint(CLASSES, (options.batch,), generator=draw),
    }
    ways: dict[str, dict[str, Way]] = {}
    models: dict[str, Any] = {}
    for family in BATCHES:
        run, model = ours(family, network, options.device, batch, options.steps, options.buffer)
        models[family] = model
        original = theirs(family, network, model, batch, options.steps, options.buffer)
        ways[family] = {"original": Way("original", original), "ours": Way("ours", run)}
    backbone = models["jem"].backbone
    images = batch["images"].to(options.device).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward() -> None:
        for _ in range(FORWARDS):
            backbone(images)

    one = Way("forward", forward)
    for way in (one, *(way for both in ways.values() for way in both.values())):
        way.run()  # warm-up: memory, kernels, lazy initialisation
    for repetition in range(options.repetitions):
        clock.time(one)
        for both in ways.values():
            order = list(both.values())
            for way in order if repetition % 2 else order[::-1]:
                clock.time(way)
        print(f"{network}: repetition {repetition + 1} of {options.repetitions}", file=sys.stderr)
    forwards = [seconds / FORWARDS for seconds in one.seconds]
    rows = []
    for family, both in ways.items():
        count = 2 * options.steps + 3 * BATCHES[family]
        mine, other = both["ours"].seconds, both["original"].seconds
        rows.append(
            {
                "network": network,
                "family": family,
                "forward_ms": 1e3 * statistics.median(forwards),
                "original_s": statistics.median(other),
                "ours_s": statistics.median(mine),
                "bound_s": count * statistics.median(forwards),
                "bound_forwards": count,
                "ours_forwards": _ratio(mine, forwards),
                "original_over_ours": _ratio(other, mine),
                "ours_over_bound": _ratio(mine, forwards) / count,
                "spread": [
                    min(o / m for o, m in zip(other, mine, strict=True)),
                    max(o / m for o, m in zip(other, mine, strict=True)),
                ],
                "original_peak_bytes": both["original"].peak or None,
                "ours_peak_bytes": both["ours"].peak or None,
            }
        )
    return rows


def _ratio(above: list[float], below: list[float]) -> float:
    """Median of the ratios within repetitions."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def machine(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """What the numbers depend on."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        name = next(
            (line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line), name
        )
    if options.device != "cpu":
        name = torch.cuda.get_device_name()
    return {
        "machine": name,
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "clock": clock.name,
        "batch": options.batch,
        "steps": options.steps,
        "buffer": options.buffer,
        "repetitions": options.repetitions,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| network | family | F | original | ours | bound | original / ours (range) | ours / bound |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = row["spread"]
        lines.append(
            f"| {row['network']} | {row['family']} | {row['forward_ms']:.1f} ms | {row['original_s']:.3f} s | "
            f"{row['ours_s']:.3f} s = {row['ours_forwards']:.1f} F | "
            f"{row['bound_s']:.3f} s = {row['bound_forwards']} F | "
            f"{row['original_over_ours']:.2f} ({low:.2f} to {high:.2f}) | {row['ours_over_bound']:.2f} |"
        )
        if row["ours_peak_bytes"]:
            lines[-1] += f" peak {row['original_peak_bytes'] / 2**20:.0f} / {row['ours_peak_bytes'] / 2**20:.0f} MiB |"
    return "\n".join(lines)


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["wrn-10-1"], metavar="WRN")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="sampler steps")
    parser.add_argument("--buffer", type=int, default=10_000, help="images in the replay buffer")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--tf32", action="store_true", help="let a GPU multiply in TF32, for both ways")
    parser.add_argument("--overhead", action="store_true", help="measure the harness around training instead")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.tf32
    clock = Clock(torch.device(options.device), options.threads)
    facts = machine(options, clock)
    if options.overhead:
        import overhead

        rows = overhead.measure(clock.now, options.device, options.repetitions)
        shown = overhead.table(rows)
    else:
        rows = [row for network in options.networks for row in measure(network, clock, options)]
        shown = table(rows)
    print(shown)
    print("\n" + ", ".join(f"{name} {value}" for name, value in facts.items()))
    if options.json:
        options.json.write_text(json.dumps({"schema": 1, "facts": facts, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
