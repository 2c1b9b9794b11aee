"""A user's folder of pictures of any size, from its options to the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from bench.data.own_options import FILE
from bench.train import streams

if TYPE_CHECKING:
    from tests.conftest import Project

SUITE = """\
[suite]
name = "own"
[data]
dataset    = "{name}"
validation = 2
[[model]]
family     = "softmax"
backbone   = "wrn-10-1"
epochs     = 1
batch_size = 5
[[evaluation]]
kind = "accuracy"
[[table]]
id      = "main"
columns = ["accuracy"]
"""


@pytest.fixture
def pets(project: Project) -> Path:
    root, generator = project.root / "suites" / "pets", np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 4)):
        for kind in ("cat", "dog"):
            (root / part / kind).mkdir(parents=True)
            for number in range(count):
                height, width = generator.integers(12, 40, size=2)
                pixels = generator.integers(256, size=(height, width, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / kind / f"{number}.png")
    (root / FILE).write_text('augmentation = "crop-flip"\nresize = [16, 12]\n')
    return root


@pytest.mark.parametrize("name", ["pets", "./pets"])
def test_a_folder_is_trained_on_as_it_states(
    project: Project, pets: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    crop_flip = streams.AUGMENTATIONS["crop-flip"]

    def spied(images: Any, *of_the_pass: Any) -> Any:
        shapes.append(tuple(images.shape))
        return crop_flip(images, *of_the_pass)

    monkeypatch.setitem(streams.AUGMENTATIONS, "crop-flip", spied)
    path = project.suite(SUITE.format(name=name), "own")
    run = project.bench.run(str(path), in_process=True)
    assert run.exit_code(strict=True) == 0
    assert set(shapes) == {(5, 3, 16, 12)}
    assert run.plan.jobs[0].task.train.data.dataset == str(pets)
    (table,) = project.bench.tables(str(path)).tables
    assert table.rows[0].cells[0].n == 8


def test_the_name_of_the_folder_is_not_in_the_keys(project: Project, pets: Path) -> None:
    keys = {tuple(job.key for job in project.plan(SUITE.format(name=name)).jobs) for name in ("pets", "./pets")}
    assert len(keys) == 1
    (pets / FILE).write_text('augmentation = "crop"\nresize = [16, 12]\n')
    assert not {job.key for job in project.plan(SUITE.format(name="pets")).jobs} & {*next(iter(keys))}
