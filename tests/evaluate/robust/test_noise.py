from __future__ import annotations

import numpy as np

from bench.evaluate.robust.noise import COLUMNS, noise_grid

RNG = np.random.default_rng(0)


def test_rows_are_images_adversarials_and_noise() -> None:
    images = RNG.uniform(0.3, 0.7, (3, 1, 4, 5)).astype(np.float32)
    moved = images + np.array([0.01, 0.0, -0.2], dtype=np.float32)[:, None, None, None]
    moved[2, 0, 0, 0] = images[2, 0, 0, 0]  # unchanged in one place
    grid = noise_grid(images, moved, np.array([True, False, True]))
    assert grid is not None
    assert grid.shape == (3 * 5 - 1, 2 * 6 - 1, 1)
    assert np.array_equal(grid[:4, :5, 0], (images[0, 0] * 255).round())
    assert np.array_equal(grid[5:9, 6:11, 0], (moved[2, 0] * 255).round())
    assert (grid[10:14, :5, 0] == 255).all()  # a constant gain of .01 fills the range
    assert grid[10, 6, 0] == 128
    assert (grid[11:14, 6:11, 0] == 0).all()
    assert (grid[4] == 128).all()


def test_nothing_broken_is_no_picture_and_many_are_cut() -> None:
    images = np.full((30, 3, 2, 2), 0.5, dtype=np.float32)
    assert noise_grid(images, images, np.zeros(30, bool)) is None
    grid = noise_grid(images, images, np.ones(30, bool))  # noise of 0 is grey, not a division by 0
    assert grid is not None
    assert grid.shape == (8, COLUMNS * 3 - 1, 3)
    assert (grid == 128).all()
