"""One key, one number: models that draw in training and in evaluation, in this process, again, and in a pool."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from bench.attacks import run
from bench.attacks.journal import Journal
from bench.execute.context import Site
from bench.execute.displays import Display
from bench.execute.executors import InProcess, Pool
from bench.execute.scheduler import run_plan
from bench.rng import preserved, seeded
from bench.store import OUTPUTS, Store
from tests.execute.conftest import CAPS

if TYPE_CHECKING:
    from bench.plan.jobs import Plan
    from tests.conftest import Project
    from tests.conftest import Site as Modules

RESTLESS = """\
import random
import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        with torch.no_grad():
            self.net[1].weight.mul_(8 + random.random() + float(np.random.rand()))

    def forward(self, images):
        dropped = nn.functional.dropout(images, 0.3, training=True)
        return self.net(dropped + 0.1 * random.random() + 0.1 * float(np.random.rand()))


def make():
    return Net()
"""

SUITE = """\
[suite]
name = "restless"
[data]
dataset = "digits"
[[model]]
family       = "softmax"
backbone     = "wrn-10-1-batch-drop0.3"
epochs       = 1
batch_size   = 32
warmup       = 0
[[model]]
family   = "module"
label    = "restless"
callable = "restless_net:make"
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "ood"
sets = ["patches"]
[[evaluation]]
kind  = "pgd"
steps = 3
eps   = ["25/255"]
items = 16
batch_size = 8
"""


@pytest.fixture(autouse=True)
def the_generators_of_other_tests() -> Any:
    with preserved():
        yield


def disturb() -> None:
    random.seed()
    np.random.seed()  # noqa: NPY002
    torch.seed()


def results(plan: Plan, store: Store) -> dict[str, Any]:
    """Digest of the weights, predictions as bytes, and numbers of every job."""
    found: dict[str, Any] = {}
    for job in plan.jobs:
        folder = store.folder(job.key)
        record = folder.record_json()
        assert record is not None, folder.error()
        arrays: dict[str, bytes] = {}
        if job.kind == "predict":
            with np.load(folder.file(OUTPUTS)) as kept:
                arrays = {name: kept[name].tobytes() for name in kept}
        found[job.id] = (record["weights"], arrays, record.get("numbers"))
    return found


def test_in_this_process_again_and_in_a_pool(project: Project, site: Modules) -> None:
    site.module("restless_net", RESTLESS)
    plan = project.plan(SUITE, profile=CAPS).select(["softmax/*/train", "module/*"])
    found = []
    for place in ("here", "again", "pool"):
        root = project.root / place
        where = Site(root / "store", root / "data", root / "weights", "cpu", "")
        disturb()
        before = random.getstate(), torch.get_rng_state()
        if place == "pool":
            run_plan(plan, Store(where.store), lambda where=where: Pool(where, ["cpu", "cpu"]), Display())
        else:
            run_plan(plan, Store(where.store), lambda where=where: InProcess(where), Display())
        assert random.getstate() == before[0]
        assert torch.equal(torch.get_rng_state(), before[1])
        found.append(results(plan, Store(where.store)))
    assert found[0] == found[1] == found[2]
    predicted = [arrays for name, (_, arrays, _) in found[0].items() if name.startswith("module/") and arrays]
    assert any("logits" in arrays for arrays in predicted)
    assert any("gradient_norm" in arrays for arrays in predicted)


def test_an_attack_on_a_model_that_draws_goes_on_to_the_same_images(site: Modules, tmp_path: Path) -> None:
    """Whatever pieces a kill left: what is read draws nothing, and what is computed draws what it would have."""
    site.module("restless_net", RESTLESS)
    import restless_net

    with seeded(1):
        net = restless_net.make()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((12, 1, 8, 8), generator=generator)
    with seeded(2), torch.no_grad():
        labels = net(images).argmax(dim=1)
        assert not torch.equal(net(images), net(images))

    def attacked(folder: Path) -> Any:
        disturb()
        with seeded(3):
            return run(
                "pgd", net, images, labels, norm="linf", eps="8/255", seed=0, steps=2, restarts=2, batch_size=4,
                journal=Journal(folder, every=0),
            )  # fmt: skip

    whole = attacked(tmp_path / "whole")
    pieces = sorted((tmp_path / "whole").glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    assert len(pieces) >= 3
    for kept in sorted({1, len(pieces) // 2, len(pieces) - 1}):
        folder = tmp_path / str(kept)
        folder.mkdir()
        for path in pieces[:kept]:
            (folder / path.name).write_bytes(path.read_bytes())
        resumed = attacked(folder)
        assert np.array_equal(resumed.adversarials, whole.adversarials), kept
        assert np.array_equal(resumed.robust, whole.robust)
