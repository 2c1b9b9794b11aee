"""The diffusion model of diffusers (examples/diffusion): the archive that it writes, and that bench reads it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.peer
pytest.importorskip("diffusers", reason="pip install diffusers")
sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "diffusion"))

from bench_diffusion.digits import generate, main, network, scheduler, train  # noqa: E402

from bench.rng import seeded  # noqa: E402

FEW = ["--updates", "3", "--count", "30", "--steps", "4"]


def test_equal_arguments_give_equal_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        path = tmp_path / f"{name}.npz"
        main(["--out", str(path), "--seed", seed, *FEW])
        with np.load(path, allow_pickle=False) as archive:
            made.append(archive["images"])
            assert archive["labels"].tolist() == list(range(10)) * 3
    assert made[0].shape == (30, 1, 8, 8)
    assert made[0].dtype == np.uint8
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])
    assert "30 images" in capsys.readouterr().out


def test_other_names_than_npz_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "a.png")])
    assert "an .npz archive" in capsys.readouterr().err


def test_training_makes_a_denoiser() -> None:
    """Of noisy images of two constant classes it removes most of the noise; the error of a fresh network is near 1."""
    labels = torch.arange(64) % 2
    images = labels[:, None, None, None].float().expand(64, 1, 8, 8)
    with seeded(0):
        noise, times = torch.randn(64, 1, 8, 8), torch.full((64,), 500)
        noisy = scheduler().add_noise(2 * images - 1, noise, times)
        errors = []
        for model in (network().eval(), train(images, labels, steps=100, average=0.9)):
            with torch.no_grad():
                errors.append(float((model(noisy, times, class_labels=labels).sample - noise).square().mean()))
        made, classes = generate(model, 20, steps=4)
    assert errors[0] > 0.7
    assert errors[1] < 0.3
    assert made.shape == (20, 1, 8, 8)
    assert bool(((made >= 0) & (made <= 1)).all())
    assert classes.tolist() == [*range(10), *range(10)]
