"""Speed of one training iteration of JEM and of GMMC (Gen): ours, the originals' way, and a lower bound.

    python benchmarks/sampler.py                                  # WRN-10-1 on one CPU thread
    python benchmarks/sampler.py --networks wrn-16-4 wrn-28-10 --device cuda
    python benchmarks/sampler.py --precision bf16                 # and ours so, beside float32
    python benchmarks/sampler.py --device cuda --precision tf32 --cudnn benchmark   # as preset = "fast" trains
    python benchmarks/sampler.py --overhead                       # share of the harness in training, on digits

Each repetition measures, one after the other in one process: a forward pass F of one batch without gradient, an
iteration in the originals' way (``original_way.py``) and one of ours, for both families. Other load on the machine thus
affects all of them, and ratios are taken within a repetition. The bound counts 2 F a sampler step and 3 F a
batch of the update: 49 F (JEM) and 46 F (GMMC) at 20 steps.

On a CPU with one thread time is CPU time of the process, else wall time; on a GPU the device is waited for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from bench_models.wide_resnet_shape import parse_name
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))
from allocator import restart_with_settings
from original_way import Network, OriginalGMMC, OriginalJEM
from sampler_table import Way, describe, table

from bench.family import Batch, Iteration
from bench.train.forward import Forward
from bench.weights import load as trained
from bench.weights.find import Blueprint

CLASSES, SHAPE = 10, (3, 32, 32)
BATCHES = {"jem": 3, "gmmc-gen": 2}
FORWARDS = 5


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


def ours(
    family_name: str, network: str, options: argparse.Namespace, batch: Mapping[str, Tensor], how: tuple[str, str]
) -> Any:
    """Our iteration as the training loop runs it, in a precision and with kernels of cuDNN; the model; how it runs."""
    device = options.device
    config = {"sampler": {"steps": options.steps, "buffer": options.buffer}}
    spec = Blueprint(family=family_name, backbone=network, config=config, seed=1)
    family, model = trained.build(spec, CLASSES, SHAPE, device)
    forward = Forward(model, *how)
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
        with forward.training():
            step = family.training_step(model, batches, state, Iteration(done, 0, 10**6, generator))
            # The guard reads every loss on a CPU; on a GPU it does so every 20 iterations.
            if device == "cpu" or done % 20 == 19:
                float(step.loss.detach())
            optimizer.zero_grad(set_to_none=True)
            step.loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        done += 1

    return iteration, model, forward


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
    """Measure both families on one network; one row each."""
    draw = torch.Generator().manual_seed(0)
    size = (options.batch, *SHAPE)
    batch = {
        "density": torch.rand(size, generator=draw) * 2 - 1,
        "images": torch.rand(size, generator=draw) * 2 - 1,
        "labels": torch.randint(CLASSES, (options.batch,), generator=draw),
    }
    ways: dict[str, dict[str, Way]] = {}
    models: dict[str, Any] = {}
    forwards_asked: dict[str, Forward] = {}
    base = "tf32" if options.precision == "tf32" else "float32"
    asked = (options.precision, options.cudnn)
    for family in BATCHES:
        run, model, _ = ours(family, network, options, batch, (base, "deterministic"))
        models[family] = model
        original = theirs(family, network, model, batch, options.steps, options.buffer)
        ways[family] = {"original": Way("original", original), "ours": Way("ours", run)}
        if asked != (base, "deterministic"):
            run, _, forwards_asked[family] = ours(family, network, options, batch, asked)
            ways[family]["asked"] = Way("asked", run)
    backbone = models["jem"].backbone
    images = batch["images"].to(options.device).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def forward() -> None:
        for _ in range(FORWARDS):
            backbone(images)

    one = Way("forward", forward)
    for way in (one, *(way for both in ways.values() for way in both.values())):
        way.run()  # warm-up: memory, choice of kernels, lazy initialisation
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
        row = describe(network, family, 2 * options.steps + 3 * BATCHES[family], forwards, both)
        if family in forwards_asked:
            row["asked"] |= forwards_asked[family].facts()
        rows.append(row)
    return rows


def machine(options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """The machine, its settings and the versions of libraries, which the numbers depend on."""
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


def main() -> None:
    """Parse the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["wrn-10-1"], metavar="WRN")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20, help="sampler steps")
    parser.add_argument("--buffer", type=int, default=10_000, help="images in the replay buffer")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument(
        "--precision",
        choices=["float32", "tf32", "bf16"],
        default="float32",
        help="tf32: let a GPU multiply so, for both ways; bf16: also measure ours in it",
    )
    parser.add_argument("--cudnn", choices=["deterministic", "benchmark"], default="deterministic")
    parser.add_argument("--overhead", action="store_true", help="measure the harness around training instead")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    restart_with_settings()
    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
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
