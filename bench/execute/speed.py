"""Measured speeds of networks on a device, kept in the user's cache folder; read without torch."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.data.decoded import user_cache
from bench.files.atomic import write_json
from bench.keys import digest
from bench.spec import BACKBONES
from bench.store.checked import read_json

__all__ = [
    "Calibration",
    "Network",
    "Speed",
    "calibration",
    "device_name",
    "machine_facts",
    "multiply_adds",
    "save",
    "stored",
]

LONGEST = 3600.0
"""Seconds that no pass of an image takes."""
_CPU = Path("/proc/cpuinfo")
_GPUS = Path("/proc/driver/nvidia/gpus")
_INSTRUCTIONS = ("amx_bf16", "asimd", "avx", "avx2", "avx512_bf16", "avx512bw", "avx512f", "avx512vl", "fma", "sve")
"""Flags of a CPU by which torch chooses its kernels."""
_UPDATES = 6.0
"""Passes of the updates in the training of a family with a sampler, for one item: two streams, three passes each. The
other passes are taken as sampler steps."""


@dataclass(frozen=True)
class Network:
    """A network as far as its speed depends on it.

    Attributes:
        backbone: Registered name.
        image_shape: (C, H, W).
    """

    backbone: str
    image_shape: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.backbone} on {'x'.join(map(str, self.image_shape))}"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds that a network takes for one image of a batch, in float32.

    Attributes:
        network: What was measured.
        batch: Images in a batch.
        forward: A forward pass without gradients: one network pass.
        gradient: A forward pass, and a backward pass to the image: two network passes.
        update: A forward pass, a backward pass to the weights, and a step of Adam: three network passes.
    """

    network: Network
    batch: int
    forward: float
    gradient: float
    update: float

    def predicting(self, output: str) -> float:
        """Seconds per network pass of a prediction of ``"forward"`` or ``"gradient"``."""
        return self.forward if output == "forward" else self.gradient / 2

    def training(self, passes: float) -> float:
        """Seconds per network pass of a training that takes so many passes for an item in one epoch."""
        if passes <= 0:
            return self.update / 3
        updates = min(passes, _UPDATES)
        return (updates * self.update / 3 + (passes - updates) * self.gradient / 2) / passes

    @property
    def evaluating(self) -> float:
        """Seconds per network pass of an evaluation that runs the network: attacks and samplers take gradients."""
        return self.gradient / 2


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Speeds that were measured on one device.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        machine: Facts on which speeds depend; see `machine_facts`.
        measured: Time of the last measurement in UTC.
        speeds: By network.
    """

    device: str
    machine: Mapping[str, Any]
    measured: str
    speeds: Mapping[Network, Speed]

    @property
    def name(self) -> str:
        """The device for people, such as ``"cpu (AMD EPYC, 1 thread)"``."""
        return device_name(self.machine)

    def speed(self, network: Network) -> tuple[Speed, float] | None:
        """A speed to use for a network, and the factor for its seconds; None if there is none.

        For a network that was not measured, the measured one with the most similar number of multiply-adds serves, and
        seconds grow with multiply-adds; the factor is then their ratio, and for a measured network 1.
        """
        own = self.speeds.get(network)
        if own is not None:
            return own, 1.0
        wanted = multiply_adds(network)
        if wanted is None:
            return None
        known = [(speed, found) for speed in self.speeds.values() if (found := multiply_adds(speed.network))]
        if not known:
            return None
        nearest, macs = min(known, key=lambda pair: abs(math.log(wanted / pair[1])))
        return nearest, wanted / macs

    def as_json(self) -> dict[str, Any]:
        """The content of the file."""
        speeds = [asdict(speed) for speed in self.speeds.values()]
        return {
            "device": self.device,
            "machine": dict(self.machine),
            "measured": self.measured,
            "speeds": speeds,
        }

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Calibration:
        """Read a file.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: The file is no calibration.
        """
        speeds = {}
        for found in facts["speeds"]:
            channels, height, width = found["network"]["image_shape"]
            network = Network(str(found["network"]["backbone"]), (int(channels), int(height), int(width)))
            seconds = {name: float(found[name]) for name in ("forward", "gradient", "update")}
            if not all(0 < value < LONGEST for value in seconds.values()):
                raise ValueError("a speed is no time that a pass may take")
            batch = int(found["batch"])
            if batch < 1:
                raise ValueError("a batch has at least one image")
            speeds[network] = Speed(network=network, batch=batch, **seconds)
        return cls(
            device=str(facts["device"]),
            machine=dict(facts["machine"]),
            measured=str(facts["measured"]),
            speeds=speeds,
        )


def machine_facts(device: str) -> dict[str, Any]:
    """The facts on which a calibration depends, found without torch.

    These are the device, its model, the instructions of the CPU by which torch chooses kernels, the version of torch,
    and the number of threads of a worker (None on a GPU, where it is torch's default).

    Args:
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:<i>"``.
    """
    kind = device.partition(":")[0]
    facts: dict[str, Any] = {"device": kind, "torch": _torch(), "system": platform.system()}
    facts["machine"] = platform.machine()
    if kind == "cpu":
        model, flags = _processor()
        facts |= {"model": model, "instructions": flags, "threads": 1}
        limit = os.environ.get("ATEN_CPU_CAPABILITY")
        return facts if limit is None else {**facts, "capability": limit}
    return {**facts, "model": _gpu(), "threads": None}


def device_name(machine: Mapping[str, Any]) -> str:
    """The device for people: its kind, model and threads."""
    threads = machine.get("threads")
    told = "" if threads is None else f", {threads} thread{'s' if threads != 1 else ''}"
    return f"{machine['device']} ({machine['model']}{told})"


def multiply_adds(network: Network) -> float | None:
    """Multiply-adds of a forward pass of one image, if the backbone's description has them."""
    try:
        facts = BACKBONES.get(network.backbone).describe(network.backbone, network.image_shape)
        found = float(facts["multiply-adds"])
    except Exception:  # of a plug-in that may raise anything, or that does not say
        return None
    return found if found > 0 and math.isfinite(found) else None


def calibration(device: str) -> Calibration | None:
    """The calibration of this machine's device; None if there is none, or its file is damaged."""
    return _read(_path(machine_facts(device)))


def stored() -> list[Calibration]:
    """All calibrations in the cache folder, also those of other machines that share it."""
    found = (_read(path) for path in sorted(_folder().glob("*.json")))
    return [one for one in found if one is not None]


def save(device: str, measured: str, speeds: Iterable[Speed]) -> Calibration:
    """Keep speeds of this machine's device, beside those of other networks that were measured before.

    Raises:
        OSError: The cache folder cannot be written.
    """
    machine = machine_facts(device)
    before = _read(_path(machine))
    kept = dict(before.speeds) if before is not None else {}
    kept.update((speed.network, speed) for speed in speeds)
    made = Calibration(device=machine["device"], machine=machine, measured=measured, speeds=kept)
    path = _path(machine)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, made.as_json())
    return made


def _folder() -> Path:
    return user_cache() / "speed"


def _path(machine: Mapping[str, Any]) -> Path:
    return _folder() / f"{machine['device']}-{digest(dict(machine))[:16]}.json"


def _read(path: Path) -> Calibration | None:
    facts = read_json(path)
    if facts is None:
        return None
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return Calibration.from_json(facts)
    return None


def _torch() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> tuple[str, list[str]]:
    """Model of the CPU, and those of its instructions that matter."""
    try:
        text = _CPU.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    have = set(flags[1].split()) if flags else set()
    return (model[1].strip() if model else platform.processor() or platform.machine()), sorted(
        have.intersection(_INSTRUCTIONS)
    )


def _gpu() -> str:
    """Models of the GPUs from the driver's files, such as ``"NVIDIA H200"``."""
    found = set()
    for path in sorted(_GPUS.glob("*/information")):
        with contextlib.suppress(OSError):
            match = re.search(r"^Model:\s*(.+)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
            if match:
                found.add(match[1].strip())
    return ", ".join(sorted(found)) or "unknown GPU"
