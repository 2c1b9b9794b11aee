"""Checkpoints of JEM++ and SADA-JEM from files, and a suite that uses one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.weights.conftest import FORMATS, authors, bring, imported, pictures, run_suite, write_jem

if TYPE_CHECKING:
    from tests.conftest import Project

SHAPE = (1, 8, 8)
BACKBONE = "wrn-10-1-batch"


@pytest.mark.parametrize(("family", "state"), [("jem-pp", authors.jem_pp_state), ("sada-jem", authors.sada_jem_state)])
@FORMATS
def test_a_file_becomes_the_authors_classifier(tmp_path: Path, family: str, state: Any, zipped: bool) -> None:
    path = write_jem(tmp_path / "ckpt_140.pt", state("batch", channels=1), zipped=zipped)
    report = bring(path, tmp_path, format_=family, family=family, backbone=BACKBONE, image_shape=SHAPE)
    model = imported(tmp_path, family, BACKBONE, SHAPE)
    expected = authors.jem_logits(authors.sada_jem_state("batch", channels=1), pictures(SHAPE) * 2 - 1)
    with torch.no_grad():
        assert torch.allclose(model(pictures(SHAPE)), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.5
    assert report.buffer == 20
    assert report.stubbed == ()
    assert not model.mixture.fitted


def test_a_suite_fits_the_gaussians_to_its_training_set_and_starts_chains_from_them(
    project: Project, tmp_path: Path
) -> None:
    path = write_jem(tmp_path / "a.pt", authors.jem_pp_state("batch", channels=1))
    root = project.bench.settings.weights
    bring(path, root, format_="jem-pp", family="jem-pp", backbone=BACKBONE, image_shape=SHAPE)
    records = run_suite(project, "jem-pp", BACKBONE)
    assert any("fitted to the training set" in n for n in records["jem-pp/digits/seed1/train"]["imported"]["notes"])
    model: Any = project.bench.load_model("jem-pp")
    made = model.sample(torch.arange(10), seed=0, index=torch.arange(10), steps=0)
    corners = made[:, 0, ::7, ::7].mean()
    assert corners < 0.2 < made[:, 0, 2:6, 3:5].mean()  # dark corners and bright strokes, as the digits have
    assert len(model.stored_samples().images) == 20
