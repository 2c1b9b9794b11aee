"""A suite whose attacks keep their adversarial images, run once."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from bench.api import Bench
from bench.cli.main import cli
from bench.commands.verify import Verified, verify
from bench.data.job import job_splits
from bench.plan.jobs import Plan
from bench.store import JobFolder, Record
from tests.conftest import planned

SUITE = """\
[suite]
name = "claims"
[data]
dataset = "digits"

[[model]]
family   = "softmax"
backbone = "wrn-10-1"
[[model]]
family   = "gmmc-dis"
backbone = "wrn-10-1"

[[evaluation]]
kind  = "pgd"
eps   = ["25/255"]
steps = 4
step  = "eps/2"
noise = 0
adversarials = true

[[evaluation]]
kind     = "adaptive"
eps      = ["25/255"]
losses   = ["margin"]
restarts = 1
steps    = 8
step     = "eps/2"
transfer = ["softmax"]
queries  = 5
adversarials = true

[[evaluation]]
kind   = "transfer"
source = "softmax"
eps    = ["25/255"]
attack_seeds = 2
norm   = "linf"
steps  = 8
step   = "eps/2"
adversarials = true

[[evaluation]]
kind   = "attack"
attack = "torchattacks.PGD"
params = { steps = 4, alpha = "12/255" }
eps    = ["25/255"]
adversarials = true

[[evaluation]]
kind    = "cw-l2"
targets = "next-random"
steps   = 20
rounds  = 2
c0      = 10.0
lr      = 0.1
adversarials = true
"""

PROFILE = """\
[profile]
name = "few"
[model]
epochs       = 3
lr           = 4e-3
warmup       = 0
decay_epochs = [2]
[caps]
train      = 448
validation = 50
items      = 24
"""

CLAIMS = [
    ("softmax", "pgd@25/255", "ce"),
    ("softmax", "pgd@25/255", "margin"),
    ("softmax", "adaptive@25/255", "robust"),
    ("softmax", "attack@25/255", "robust"),
    ("softmax", "cw-l2", "l2"),
    ("gmmc-dis", "pgd@25/255", "ce"),
    ("gmmc-dis", "pgd@25/255", "margin"),
    ("gmmc-dis", "adaptive@25/255", "robust"),
    ("gmmc-dis", "transfer@25/255", "robust"),
    ("gmmc-dis", "attack@25/255", "robust"),
    ("gmmc-dis", "cw-l2", "l2"),
]


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """What the environment says does not count, and results have the same bits each time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS"):
            patch.delenv(name, raising=False)
        # The judge fills batches up: 24 items would cost 128. Where the run had 128 rounding can differ.
        patch.setattr("bench.commands.verify.BATCH", 24)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def of_this_machine() -> Iterator[None]:
    with settled():
        yield


@dataclasses.dataclass(frozen=True)
class Claims:
    """A project folder with the suite, run or not."""

    root: Path

    @property
    def bench(self) -> Bench:
        return Bench.here(self.root)

    @property
    def plan(self) -> Plan:
        return self.bench.plan(self.root / "suites" / "claims.toml", profile=str(self.root / "few.toml"))

    def verified(self, *only: str) -> dict[tuple[str, str, str], Verified]:
        """By model, evaluation and metric."""
        found = {}
        for one in verify(self.bench, self.plan.select(only), "cpu"):
            model, _, _, what = one.job.split("/", 3)
            assert (model, what, one.metric) not in found
            found[model, what, one.metric] = one
        return found

    def broken(self, model: str, what: str = "*") -> dict[str, Verified]:
        """The claims of jobs that do not hold, by metric, as the command says, too."""
        only = f"{model}/*/{what}"
        broken = {name: one for name, one in self.verified(only).items() if not one.holds}
        assert self.command("--only", only).exit_code == (1 if broken else 0)
        return {f"{what} {metric}": one for (_, what, metric), one in broken.items()}

    def command(self, *options: str) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            arguments = ["verify", "claims", "--profile", "few.toml", *options]
            return CliRunner().invoke(cli, arguments, catch_exceptions=False)

    def folder(self, model: str, what: str) -> JobFolder:
        job = planned(self.plan, f"{model}/digits/seed1/{what}")
        return self.bench.store.folder(job.key)

    def change_record(self, model: str, what: str, change: Callable[[dict[str, Any]], None]) -> None:
        folder = self.folder(model, what)
        record = folder.record_json()
        assert record is not None
        change(record)
        # As somebody would who knows how results are checked: all digests are those of what is there.
        names = [name for name in record.pop("artefacts") if folder.file(name).is_file()]
        record.pop("digest")
        folder.finish(Record.from_json(record), names)

    def change_arrays(self, model: str, what: str, change: Callable[[dict[str, NDArray[Any]]], None]) -> None:
        """Change what was kept; the record gets the digest of the changed file."""
        path = self.folder(model, what).file("adversarials.npz")
        rewrite(path, change)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.change_record(model, what, lambda record: record["details"]["adversarials"].update(sha256=digest))

    def change_items(self, model: str, what: str, change: Callable[[dict[str, NDArray[Any]]], None]) -> None:
        rewrite(self.folder(model, what).file("items.npz"), change)
        self.change_record(model, what, lambda _: None)

    def clean(self, model: str, what: str, metric: str) -> NDArray[np.float32]:
        """The clean images of those that were kept."""
        job = planned(self.plan, f"{model}/digits/seed1/{what}")
        test = job_splits(job.task.train.data, self.bench.settings.data).test
        rows = {int(identity): row for row, identity in enumerate(test.ids)}
        with np.load(self.folder(model, what).file("adversarials.npz")) as arrays:
            return test.unit_images()[[rows[int(identity)] for identity in arrays[f"{metric}.ids"]]]


def rewrite(path: Path, change: Callable[[dict[str, NDArray[Any]]], None]) -> None:
    with np.load(path) as found:
        arrays = dict(found)
    change(arrays)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    path.write_bytes(content.getvalue())


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Claims:
    """The suite, run once. To be looked at, not changed."""
    root = tmp_path_factory.mktemp("honest")
    suite, profile = root / "suites" / "claims.toml", root / "few.toml"
    suite.parent.mkdir()
    suite.write_text(SUITE)
    profile.write_text(PROFILE)
    (root / "bench.toml").write_text('[paths]\nresults = "results"\ndata = "data"\nweights = "weights"\n')
    claims = Claims(root)
    with settled():
        assert claims.bench.run(suite, profile=str(profile), device="cpu", in_process=True).exit_code() == 0
    return claims


@pytest.fixture
def claims(honest: Claims, tmp_path: Path) -> Claims:
    """A copy, to be tampered with."""
    return Claims(Path(shutil.copytree(honest.root, tmp_path / "copy")))
