"""``bench verify``, end to end: what an honest run has kept holds, and whatever is tampered with is found."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
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
from bench.errors import NothingSelectedError
from bench.files.tensors import load_tensors, save_tensors
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


@pytest.fixture(autouse=True, scope="module")
def of_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS"):
            patch.delenv(name, raising=False)
        # The judge fills batches up: 24 items would cost 128. Where the run had 128 rounding can differ.
        patch.setattr("bench.commands.verify.BATCH", 24)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


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

    def change_arrays(
        self, model: str, what: str, change: Callable[[dict[str, NDArray[Any]]], None], *, repair: bool = True
    ) -> None:
        """Change what was kept; with ``repair`` the record gets the digest of the changed file."""
        path = self.folder(model, what).file("adversarials.npz")
        rewrite(path, change)
        if repair:
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


def written(root: Path, suite: str) -> Claims:
    (root / "suites").mkdir(parents=True)
    (root / "bench.toml").write_text('[paths]\nresults = "results"\ndata = "data"\nweights = "weights"\n')
    (root / "suites" / "claims.toml").write_text(suite)
    (root / "few.toml").write_text(PROFILE)
    return Claims(root)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Claims:
    """The suite, run once. To be looked at, not changed."""
    claims = written(tmp_path_factory.mktemp("honest"), SUITE)
    suite, profile = claims.root / "suites" / "claims.toml", str(claims.root / "few.toml")
    assert claims.bench.run(suite, profile=profile, device="cpu", in_process=True).exit_code() == 0
    return claims


@pytest.fixture
def claims(honest: Claims, tmp_path: Path) -> Claims:
    """A copy, to be tampered with."""
    return Claims(Path(shutil.copytree(honest.root, tmp_path / "copy")))


# --- what holds -------------------------------------------------------------------------------------------------


def test_every_claim_of_an_honest_run_holds(honest: Claims) -> None:
    found = honest.verified()
    assert list(found) == CLAIMS
    for name, one in found.items():
        assert one.holds, name
        assert (one.confirmed, one.rounding) == (one.claimed, 0), name
        assert one.claimed > 0, name
        assert one.measured == pytest.approx(one.recorded), name
        assert one.largest is not None
        if one.eps is None:
            assert one.argument == ""
            assert 0 < one.measured <= one.largest  # type: ignore[operator]
        else:
            assert (one.eps, one.argument) == ("25/255", "25/255")
            # PGD goes to the corner of the ball.
            assert one.largest == pytest.approx(25 / 255, rel=1e-5)
    # So that a number can be wrong at all: some items are left, by some of the attacks.
    assert any(one.recorded for one in found.values() if one.eps is not None)


def test_only_what_is_selected_is_checked(honest: Claims) -> None:
    result = honest.command("--only", "softmax/*/pgd@25/255")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    assert "cw-l2" not in result.stdout


def test_the_lines_say_what_was_found(honest: Claims) -> None:
    lines = honest.command().stdout.splitlines()
    found = honest.verified()
    assert len(lines) == len(CLAIMS) + 1
    one = found["softmax", "pgd@25/255", "ce"]
    assert lines[0].split() == [
        "softmax/digits/seed1/pgd@25/255", "ce", str(one.claimed), "of", str(one.claimed), "confirmed;", "largest",
        "norm", "25/255", "of", "25/255;", f"{one.recorded:.1%}", "(record:", f"{one.recorded:.1%})",
    ]  # fmt: skip
    total = sum(one.claimed for one in found.values())
    assert lines[-1] == f"{total} adversarial images of {len(CLAIMS)} numbers: every claim holds"


def test_json(honest: Claims) -> None:
    result = honest.command("--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["schema"] == 1
    assert facts["verified"] == [one.as_json() for one in honest.verified().values()]
    assert all(one["holds"] is True and one["problem"] is None for one in facts["verified"])


@pytest.mark.parametrize("device", ["gpu", "cuda:97", "cpu:x"])
def test_a_device_that_is_none(honest: Claims, device: str) -> None:
    result = honest.command("--device", device)
    assert result.exit_code == 2
    assert f"device {device!r} cannot be used: " in result.stderr


def test_looking_changes_nothing(claims: Claims) -> None:
    before = {path: path.read_bytes() for path in claims.root.rglob("*") if path.is_file()}
    claims.command()
    assert {path: path.read_bytes() for path in claims.root.rglob("*") if path.is_file()} == before


# --- what does not ----------------------------------------------------------------------------------------------

PGD = ("softmax", "pgd@25/255")
CE, MARGIN = "pgd@25/255 ce", "pgd@25/255 margin"
GMMC = ("gmmc-dis", "pgd@25/255")


@pytest.mark.parametrize("place", [0.01, 0.5, 0.99])
def test_a_flipped_byte(claims: Claims, place: float) -> None:
    path = claims.folder(*PGD).file("adversarials.npz")
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    broken = claims.broken("softmax")
    assert set(broken) == {CE, MARGIN}  # and nothing of the other jobs
    assert {one.problem for one in broken.values()} == {"adversarials.npz is damaged"}
    # With its digest repaired it is what it is: unreadable, or another image, or a byte that nobody reads.
    digest = hashlib.sha256(content).hexdigest()
    claims.change_record(*PGD, lambda record: record["details"]["adversarials"].update(sha256=digest))
    assert set(claims.broken(*PGD)) <= {CE, MARGIN}


def test_a_file_that_is_gone(claims: Claims) -> None:
    claims.folder(*PGD).file("adversarials.npz").unlink()
    broken = claims.broken(*PGD)
    assert set(broken) == {CE, MARGIN}
    assert {one.problem for one in broken.values()} == {"adversarials.npz is missing"}
    assert "ce      NOT CONFIRMED: adversarials.npz is missing" in claims.command("--only", "softmax/*/pgd*").stdout


def test_a_record_that_was_edited(claims: Claims) -> None:
    path = claims.folder(*PGD).file("record.json")
    record = json.loads(path.read_text())
    record["numbers"][0]["value"] = 0.99
    path.write_text(json.dumps(record))
    (one,) = claims.broken(*PGD).values()
    assert one.problem == f"{path} does not have the content that was written (another digest)"


@pytest.mark.parametrize("content", [None, b"", b"nothing that NumPy knows"])
def test_items_that_are_gone_or_damaged(claims: Claims, content: bytes | None) -> None:
    path = claims.folder(*PGD).file("items.npz")
    path.unlink() if content is None else path.write_bytes(content)
    broken = claims.broken(*PGD)
    assert set(broken) == {CE, MARGIN}
    assert {one.problem for one in broken.values()} == {"items.npz is damaged or missing"}


@pytest.mark.parametrize(("model", "what", "metric"), [CLAIMS[0], *CLAIMS[-4:]])
def test_an_image_replaced_by_the_clean_one(claims: Claims, model: str, what: str, metric: str) -> None:
    clean = claims.clean(model, what, metric)

    def replace(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[f"{metric}.images"][0] = clean[0]

    before = claims.verified(f"{model}/*/{what}")[model, what, metric]
    claims.change_arrays(model, what, replace)
    ((name, one),) = claims.broken(model, what).items()
    assert name == f"{what} {metric}"
    assert (one.claimed, one.confirmed, one.rounding) == (before.claimed, before.claimed - 1, 0)
    if one.eps is not None:
        pairs = 24 * (2 if what.startswith("transfer") else 1)  # items times attack seeds
        assert one.measured == pytest.approx(before.measured + 1 / pairs)  # type: ignore[operator]
    printed = claims.command("--only", f"{model}/*/{what}").stdout
    assert f"{one.confirmed} of {one.claimed} confirmed, 1 NOT CONFIRMED" in printed
    assert printed.splitlines()[-1].endswith("1 does not hold")


@pytest.mark.parametrize("by", [1e-5, 0.5])
def test_an_image_outside_its_budget(claims: Claims, by: float) -> None:
    """A pixel that went up by 25/255 goes up by a little more: it may fool as well, but it is not allowed."""
    clean = claims.clean(*PGD, "ce")

    def exceed(arrays: dict[str, NDArray[Any]]) -> None:
        images = arrays["ce.images"]
        row, *pixel = np.argwhere((images > clean) & (images < 0.5))[0]
        images[row, *pixel] = clean[row, *pixel] + np.float32(25 / 255 + by)

    claims.change_arrays(*PGD, exceed)
    broken = claims.broken(*PGD)
    assert set(broken) == {CE}
    assert broken[CE].claimed - broken[CE].confirmed == 1


def test_an_image_outside_the_pixel_range(claims: Claims) -> None:
    def darken(arrays: dict[str, NDArray[Any]]) -> None:
        images = arrays["ce.images"]
        images[tuple(np.argwhere(images == 0)[0])] = -1e-6

    claims.change_arrays(*PGD, darken)
    assert set(claims.broken(*PGD)) == {CE}


def test_ids_swapped(claims: Claims) -> None:
    def swap(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["ce.ids"][[0, 1]] = arrays["ce.ids"][[1, 0]]

    claims.change_arrays(*PGD, swap)
    broken = claims.broken(*PGD)
    assert set(broken) == {CE}
    assert "other items" in str(broken[CE].problem)


def test_images_swapped(claims: Claims) -> None:
    """Each far outside the ball of the other's clean image."""

    def swap(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["ce.images"][[0, 1]] = arrays["ce.images"][[1, 0]]

    claims.change_arrays(*PGD, swap)
    broken = claims.broken(*PGD)
    assert set(broken) == {CE}
    assert broken[CE].claimed - broken[CE].confirmed == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda images: images.astype(np.float64),
        lambda images: images[:, :, :4],
        lambda images: images[:-1],
        lambda images: np.full_like(images, np.nan),
    ],
    ids=["float64", "shape", "one less", "not a number"],
)
def test_images_that_are_none(claims: Claims, change: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    claims.change_arrays(*PGD, lambda arrays: arrays.update({"ce.images": change(arrays["ce.images"])}))
    assert set(claims.broken(*PGD)) == {CE}


@pytest.mark.parametrize("name", ["ce.images", "ce.ids"])
def test_an_array_that_is_missing(claims: Claims, name: str) -> None:
    claims.change_arrays(*PGD, lambda arrays: arrays.__delitem__(name))
    assert set(claims.broken(*PGD)) == {CE}


@pytest.mark.parametrize(("name", "lost"), [("ce", {CE}), ("clean", {CE, MARGIN}), ("ids", {CE, MARGIN})])
def test_an_array_of_items_that_is_missing(claims: Claims, name: str, lost: set[str]) -> None:
    claims.change_items(*PGD, lambda arrays: arrays.__delitem__(name))
    assert set(claims.broken(*PGD)) == lost


def test_one_more_item_said_to_be_broken(claims: Claims) -> None:
    """The record counts an item that no image was kept of."""

    def lower(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["margin"][np.flatnonzero(arrays["margin"])[0]] = False

    claims.change_items(*GMMC, lower)
    assert set(claims.broken(*GMMC)) == {MARGIN}


def test_an_item_said_to_be_misclassified_anyway(claims: Claims) -> None:
    """It would lower the accuracy without any image."""

    def lower(arrays: dict[str, NDArray[Any]]) -> None:
        row = np.flatnonzero(arrays["margin"])[0]
        arrays["margin"][row] = arrays["clean"][row] = False

    claims.change_items(*GMMC, lower)
    assert claims.broken(*GMMC)[MARGIN].problem == "clean items that are not classified as the record says: 1"


@pytest.mark.parametrize(
    ("model", "what", "metric"),
    [(*PGD, "ce"), ("gmmc-dis", "transfer@25/255", "robust"), ("softmax", "cw-l2", "l2")],
)
def test_another_number_in_the_record(claims: Claims, model: str, what: str, metric: str) -> None:
    def change(record: dict[str, Any]) -> None:
        (number,) = [n for n in record["numbers"] if n["metric"] == metric]
        number["value"] = number["value"] * 0.9 + 0.01

    claims.change_record(model, what, change)
    ((name, one),) = claims.broken(model, what).items()
    assert name == f"{what} {metric}"
    assert "follows from its items" in str(one.problem)


@pytest.mark.parametrize(
    ("key", "value"), [("eps", "50/255"), ("argument", "50/255"), ("norm", "l2"), ("eps", None), ("metric", "none")]
)
def test_facts_that_are_not_the_jobs(claims: Claims, key: str, value: str | None) -> None:
    """A wider budget, say: what is claimed is claimed of the job's."""
    claims.change_record(*PGD, lambda record: record["details"]["adversarials"]["entries"][0].update({key: value}))
    ((name, one),) = claims.broken(*PGD).items()
    assert name == (CE if key != "metric" else "pgd@25/255 none")
    assert one.problem is not None


def test_a_model_that_was_trained_again_to_other_weights(claims: Claims) -> None:
    train = claims.folder("softmax", "train")
    path = train.file("weights.safetensors")
    weights, _ = load_tensors(path)
    generator = torch.Generator().manual_seed(0)
    changed = {
        name: tensor + 0.5 * tensor.std() * torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1
        else tensor
        for name, tensor in weights.items()
    }
    digest = save_tensors(path, changed)
    claims.change_record("softmax", "train", lambda record: record.update(weights=digest))
    expected = {f"{what} {metric}" for model, what, metric in CLAIMS if model == "softmax"}
    broken = claims.broken("softmax")
    assert set(broken) == expected
    assert {one.problem for one in broken.values()} == {"it was measured on weights that the store no longer holds"}
    assert set(claims.broken("gmmc-dis")) == set()
    # A record that claims to be of these weights does not make its images fool them, nor its items right.
    for what in {what for model, what, _ in CLAIMS if model == "softmax"}:
        claims.change_record("softmax", what, lambda record: record.update(weights=digest))
    broken = claims.broken("softmax")
    assert set(broken) == expected
    assert not any("no longer holds" in str(one.problem) for one in broken.values())


@pytest.mark.parametrize("content", [None, b"damaged"])
def test_weights_that_are_gone_or_damaged(claims: Claims, content: bytes | None) -> None:
    path = claims.folder("softmax", "train").file("weights.safetensors")
    path.unlink() if content is None else path.write_bytes(content)
    assert set(claims.broken(*PGD)) == {CE, MARGIN}


# --- nothing to check -------------------------------------------------------------------------------------------


def test_nothing_kept(claims: Claims) -> None:
    """A suite that does not ask for the images, on the same store: its jobs are others, and not even run."""
    (claims.root / "suites" / "claims.toml").write_text(SUITE.replace("adversarials = true\n", ""))
    with pytest.raises(NothingSelectedError):
        claims.verified()
    result = claims.command()
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "set adversarials = true in an [[evaluation]] of an attack and run it" in result.stderr


def test_kept_but_not_selected(honest: Claims) -> None:
    assert honest.command("--only", "*/train").exit_code == 3


TRANSFER = ("gmmc-dis", "transfer@25/255")


def test_images_said_to_be_of_another_seed_of_the_attack(claims: Claims) -> None:
    """``transfer`` is repeated: every image belongs to an item and a seed."""

    def swap(arrays: dict[str, NDArray[Any]]) -> None:
        assert set(arrays["robust.runs"]) == {0, 1}
        arrays["robust.runs"] = 1 - arrays["robust.runs"]

    claims.change_arrays(*TRANSFER, swap)
    assert set(claims.broken(*TRANSFER)) == {"transfer@25/255 robust"}


@pytest.mark.parametrize("name", ["robust", "robust.seeds"])
def test_the_shares_of_seeds_and_their_flags_must_agree(claims: Claims, name: str) -> None:
    def lower(arrays: dict[str, NDArray[Any]]) -> None:
        row = np.flatnonzero(arrays["robust"] == 1)[0]
        arrays[name][row] = False

    claims.change_items(*TRANSFER, lower)
    assert set(claims.broken(*TRANSFER)) == {"transfer@25/255 robust"}
