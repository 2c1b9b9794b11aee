"""Two commands on one store against one command: the time that sharing the work saves.

    python benchmarks/two_runs.py [--rounds 3]

Times ``bench run digits --profile smoke --workers 1`` alone, and two of them started together on an empty store, in
turns, and prints the ratio of the medians. Each command has one worker, so two commands can use two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from statistics import median


def seconds(commands: int) -> float:
    """Wall time in seconds until a number of commands, started together on one new store, have ended."""
    with tempfile.TemporaryDirectory() as results:
        environment = {**os.environ, "BENCH_RESULTS": results, "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-m",
            "bench",
            "run",
            "digits",
            "--profile",
            "smoke",
            "--workers",
            "1",
            "--no-tables",
        ]
        began = time.monotonic()
        started = [
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(commands)
        ]
        codes = [process.wait() for process in started]
        took = time.monotonic() - began
        if any(codes):
            raise SystemExit(f"a command ended with {codes}")
        return took


def main() -> None:
    """Measure in turns, print each figure and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for commands in times:
            times[commands].append(seconds(commands))
    for commands, took in times.items():
        print(f"{commands} at once: {', '.join(f'{t:.1f}' for t in took)} s; median {median(took):.1f} s")
    print(f"ratio of the medians: {median(times[2]) / median(times[1]):.2f}")


if __name__ == "__main__":
    main()
