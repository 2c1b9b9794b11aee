"""`bench verify` finds whatever is wrong with stored adversarial images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bench.files.tensors import load_tensors, save_tensors
from tests.commands.conftest import CLAIMS, Claims

pytestmark = pytest.mark.usefixtures("of_this_machine")

PGD, GMMC, TRANSFER = ("softmax", "pgd@25/255"), ("gmmc-dis", "pgd@25/255"), ("gmmc-dis", "transfer@25/255")
CE, MARGIN = "pgd@25/255 ce", "pgd@25/255 margin"


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
