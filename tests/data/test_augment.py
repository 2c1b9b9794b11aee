from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.data.augment import crop_flip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def every_crop(image: torch.Tensor, pad: int, *, flip: bool) -> torch.Tensor:
    """All images that the augmentation may make of one image, by torch's own padding; shape (n, C, H, W)."""
    _, height, width = image.shape
    padded = torch.nn.functional.pad(image[None], (pad, pad, pad, pad), mode="reflect")[0]
    crops = [
        padded[:, top : top + height, left : left + width] for top in range(2 * pad + 1) for left in range(2 * pad + 1)
    ]
    crops += [crop.flip(2) for crop in crops] if flip else []
    return torch.stack(crops)


@given(
    st.integers(0, 4),
    st.sampled_from([1, 3]),
    st.integers(2, 7),
    st.integers(2, 7),
    st.booleans(),
    st.integers(0, 99),
)
def test_every_result_is_a_crop_of_the_reflect_padded_image(
    count: int, channels: int, height: int, width: int, flip: bool, seed: int
) -> None:
    images = torch.rand((count, channels, height, width), generator=seeded(seed + 1))
    pad = min(height, width, 5) - 1
    result = crop_flip(images, seed, torch.arange(count), pad=pad, flip=flip)
    assert result.shape == images.shape
    assert result.dtype == images.dtype
    for image, augmented in zip(images, result, strict=True):
        matches = (every_crop(image, pad, flip=flip) == augmented).flatten(1).all(1)
        assert matches.any()


@pytest.mark.parametrize("flip", [False, True])
def test_every_crop_occurs_equally_often_and_rows_columns_and_flips_are_independent(flip: bool) -> None:
    image = torch.rand((1, 1, 4, 5), generator=seeded(7))
    pad, repeats = 1, 18_000
    result = crop_flip(image.expand(repeats, -1, -1, -1), 1, torch.arange(repeats), pad=pad, flip=flip)
    candidates = every_crop(image[0], pad, flip=flip)
    matches = (result[:, None] == candidates[None]).flatten(2).all(2)
    assert (matches.sum(1) == 1).all()  # all candidates differ, so each result is exactly one
    observed = matches.sum(0).double()
    expected = repeats / len(candidates)
    chi_squared = float(((observed - expected) ** 2 / expected).sum())
    # 99.99% quantiles of chi squared with 8 and 17 degrees of freedom; the draw is fixed by its seed.
    assert chi_squared < (46.0 if flip else 31.8)


@given(st.integers(0, 1000))
def test_no_padding_and_no_flip_is_the_exact_identity_in_a_new_tensor(seed: int) -> None:
    images = torch.rand((3, 2, 5, 4), generator=seeded(seed))
    result = crop_flip(images, 0, torch.arange(3), pad=0, flip=False)
    assert torch.equal(result, images)
    result.zero_()
    assert images.sum() > 0


def test_seed_and_item_decide_and_neither_batch_nor_global_state() -> None:
    images, items = torch.rand((16, 3, 8, 8), generator=seeded(5)), torch.arange(16) * 3
    torch.manual_seed(1)
    first = crop_flip(images, 2, items)
    before = torch.get_rng_state()
    some = torch.tensor([5, 0, 11])
    assert torch.equal(crop_flip(images[some], 2, items[some]), first[some])
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, crop_flip(images, 3, items))


def test_bytes_stay_bytes() -> None:
    images = torch.randint(256, (4, 1, 6, 6), generator=seeded(), dtype=torch.uint8)
    assert crop_flip(images, 0, torch.arange(4)).dtype == torch.uint8


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\), expected \(N, C, H, W\)"):
        crop_flip(torch.zeros(3, 8, 8), 0, torch.arange(3))
    with pytest.raises(ValueError, match="pad is 4, expected 0 to 3 for images of 4x8"):
        crop_flip(torch.zeros(1, 1, 4, 8), 0, torch.arange(1))
    with pytest.raises(ValueError, match="pad is -1"):
        crop_flip(torch.zeros(1, 1, 4, 8), 0, torch.arange(1), pad=-1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_crops_are_the_same_on_every_device() -> None:
    images, items = torch.rand((16, 3, 8, 8), generator=seeded(5)), torch.arange(16)
    on_device = crop_flip(images.cuda(), 2, items.cuda())
    assert on_device.is_cuda
    assert torch.equal(on_device.cpu(), crop_flip(images, 2, items))
