"""Own attacks against those of torchattacks and foolbox: time, forward passes and results.

    python benchmarks/attacks.py                                  # everything
    python benchmarks/attacks.py --sections sweep --rounds 3
    python benchmarks/attacks.py --quick                          # a try: numbers of one round mean nothing

All run in turn in one process, on one thread, under the allocator settings of the harness's workers, on small Wide
ResNets that are first trained on digits of 3x32x32 pixels: a softmax head and GMMC (Dis). Libraries run on the plain
model, as their users run them; times of own attacks include the judge. Times are processor time, which other load on
the machine disturbs less than it does the clock; "times faster" is the median of the ratios within a round.

Own attacks are faster mostly because they do not attack broken images again, so the share of survivors stands beside
every time. Budgets are found by bisection for that share: ``e`` is the smallest one at which PGD-40 leaves at most 5 %,
or 15 %; a sweep is of e/2, e, 2e, 4e.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path
from typing import Any

from allocator import restart_with_settings

SECTIONS = ("pgd", "sweep", "cw", "judge")


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """The machine, its settings and the versions of libraries, which the numbers depend on."""
    import torch

    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    return {
        "machine": name,
        "cores": os.cpu_count(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "clock": "CPU time of the process",
        "images": options.images,
        "rounds": options.rounds,
    }


def main() -> None:
    """Measure and print the tables of benchmarks/README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="three times as many where nothing is broken")
    parser.add_argument("--images", type=int, default=64, help="attacked images, one batch")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--quick", action="store_true", help="one round of 20 images, to see that it runs")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.images = 1, 20
    restart_with_settings(OMP_NUM_THREADS="1")
    # Only now: torch reads these settings when it is loaded.
    import attack_sections
    import torch
    from attack_subjects import make

    torch.set_num_threads(1)
    facts = machine(options)
    subjects = [make(head, options.images) for head in ("softmax", "gmmc-dis")]
    facts |= {f"accuracy of {subject.head}": round(subject.accuracy, 4) for subject in subjects}
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    report = attack_sections.Report(options.rounds)
    for section in options.sections:
        attack_sections.MEASURES[section](report, subjects)
    if options.json:
        options.json.write_text(json.dumps({"schema": 1, "facts": facts, "sections": report.sections}, indent=1) + "\n")


if __name__ == "__main__":
    main()
