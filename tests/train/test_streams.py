from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save
from scipy import stats

from bench.data.augment import crop_flip
from bench.family import Batch, StreamSpec
from bench.rng import derive_seed, indexed_normal, permutation
from bench.train.streams import Stream


def stream(n: int = 12, batch_size: int = 4, seed: int = 0, augmentation: str = "none", **spec: Any) -> Stream:
    """Item i has the label i and pixels i / 1000."""
    labels = torch.arange(n)
    images = (labels.float() / 1000).view(n, 1, 1, 1).expand(n, 1, 8, 8).contiguous()
    settings = StreamSpec(**{"augment": False, "sigma": 0.0, **spec})
    return Stream(images, labels, settings, augmentation=augmentation, batch_size=batch_size, seed=seed)


def epoch(s: Stream) -> list[int]:
    return torch.cat([s.next().labels for _ in range(s.per_epoch)]).tolist()


@given(n=st.integers(1, 40), batch_size=st.integers(1, 40), seed=st.integers(0, 100))
def test_an_epoch_is_a_permutation_without_its_incomplete_batch(n: int, batch_size: int, seed: int) -> None:
    if batch_size > n:
        with pytest.raises(ValueError, match=f"{n} training items do not fill one batch of {batch_size}"):
            stream(n, batch_size, seed)
        return
    s = stream(n, batch_size, seed)
    assert s.per_epoch == n // batch_size
    for _ in range(3):
        items = epoch(s)
        assert len(items) == n // batch_size * batch_size
        assert len(set(items)) == len(items)
        assert set(items) <= set(range(n))


def test_every_epoch_has_its_own_order_and_leaves_out_other_items() -> None:
    s = stream(50, 8)
    epochs = [epoch(s) for _ in range(12)]
    assert len({tuple(items) for items in epochs}) == 12
    assert {item for items in epochs for item in items} == set(range(50))


def test_the_order_is_uniform() -> None:
    """Over many passes each of 5 items comes first equally often."""
    s = stream(5, 5)
    first = torch.bincount(torch.tensor([epoch(s)[0] for _ in range(2000)]), minlength=5)
    assert stats.chisquare(first.numpy()).pvalue > 1e-4


def test_images_and_labels_stay_together() -> None:
    s = stream(30, 7)
    for _ in range(9):
        batch = s.next()
        assert torch.equal(batch.images[:, 0, 0, 0], batch.labels.float() / 1000)


def test_two_streams_know_nothing_of_each_other() -> None:
    alone = stream(seed=1)
    expected = [alone.next().labels.tolist() for _ in range(7)]
    one, other = stream(seed=1), stream(seed=2)
    found = []
    for _ in range(7):
        other.next()
        other.next()
        found.append(one.next().labels.tolist())
    assert found == expected
    assert epoch(stream(50, 50, seed=1)) != epoch(stream(50, 50, seed=2))


def test_the_global_generator_plays_no_part() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first = epoch(stream(sigma=0.1, seed=5))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    assert epoch(stream(sigma=0.1, seed=5)) == first


@pytest.mark.parametrize("sigma", [0.03, 0.5])
def test_sigma_is_stated_on_the_scale_from_minus_one_to_one(sigma: float) -> None:
    """Protocol 2: 0.03 N(0, 1) after scaling to [-1, 1], hence half of it on images in [0, 1]; not clamped."""
    s = stream(400, 400, sigma=sigma)
    batch = s.next()
    noise = (batch.images - (batch.labels.float() / 1000).view(-1, 1, 1, 1)).flatten().double()
    assert noise.std().item() == pytest.approx(sigma / 2, rel=0.02)
    assert stats.kstest((noise / (sigma / 2)).numpy(), stats.norm.cdf).pvalue > 1e-4
    assert batch.images.min() < 0


def test_without_sigma_images_are_clean() -> None:
    s = stream(4, 4)
    batch = s.next()
    assert torch.equal(batch.images, s.images[batch.labels])


def test_noise_is_new_in_every_batch() -> None:
    s = stream(4, 4, sigma=0.1)
    first, second = s.next(), s.next()
    assert not torch.equal(first.images[first.labels.argsort()], second.images[second.labels.argsort()])


@pytest.mark.parametrize(("augmentation", "flip"), [("crop", False), ("crop-flip", True)])
def test_augmentation_is_that_of_the_data_set_where_the_family_wants_it(augmentation: str, flip: bool) -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6)

    def batch(augment: bool) -> Batch:
        spec = StreamSpec(augment=augment)
        return Stream(images, labels, spec, augmentation=augmentation, batch_size=6, seed=3).next()

    order = permutation(derive_seed(3, "order", 0), 6, "cpu")
    expected = crop_flip(images[order], derive_seed(3, "augmentation", 0), order, flip=flip)
    assert torch.equal(batch(augment=True).images, expected)
    assert torch.equal(batch(augment=False).images, images[order])


@pytest.mark.parametrize("taken", [0, 1, 3, 4])
def test_its_state_goes_through_a_file(taken: int) -> None:
    """Within a pass, at its end, and in the next one; with augmentation and noise."""
    settings: dict[str, Any] = {"augmentation": "crop-flip", "augment": True, "sigma": 0.1}
    s = stream(**settings)
    for _ in range(taken):
        s.next()
    state = load(save({name: tensor.contiguous() for name, tensor in s.state_dict().items()}))
    expected = [s.next() for _ in range(8)]
    fresh = stream(seed=99, **settings)
    fresh.next()
    fresh.load_state_dict(state)
    for batch in expected:
        again = fresh.next()
        assert torch.equal(again.images, batch.images)
        assert torch.equal(again.labels, batch.labels)


def test_noise_belongs_to_an_item_in_a_pass_and_not_to_its_batch() -> None:
    images = torch.zeros(6, 1, 8, 8)
    passes = []
    for batch_size in (2, 3):
        s = Stream(images, torch.arange(6), StreamSpec(sigma=2.0), augmentation="none", batch_size=batch_size, seed=3)
        batches = [s.next() for _ in range(6 // batch_size)]
        passes.append(torch.cat([b.images for b in batches])[torch.cat([b.labels for b in batches]).argsort()])
    assert torch.equal(*passes)
    expected = indexed_normal(derive_seed(3, "noise", 0), torch.arange(6), (1, 8, 8), "cpu")
    assert torch.equal(passes[0], expected)


def test_reseeding_changes_order_and_noise_from_here_on() -> None:
    one, other, third = (stream(64, 8, seed=1, sigma=0.1) for _ in range(3))
    assert torch.equal(one.next().images, other.next().images)
    one.reseed(5)
    third.next()
    third.reseed(5)
    first = one.next()
    assert not torch.equal(first.labels, other.next().labels)
    assert torch.equal(first.images, third.next().images)
    one.reseed(6)
    third.reseed(5)
    assert not torch.equal(one.next().images, third.next().images)
