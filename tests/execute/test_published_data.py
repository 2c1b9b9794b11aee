"""CIFAR10, CIFAR100, SVHN and CelebA from the files to the table: tiny files in the true formats, whose checksums take
the place of the published ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.commands.data import published_states
from bench.data import cifar_c, pictures
from bench.data import torchvision_sets as sets
from bench.data.catalogue import DATASETS as SHIPPED
from bench.data.decoded import decoded_folder
from bench.data.loading import clear_cache
from bench.data.registry import DATASETS
from bench.errors import PrerequisiteError
from bench.execute.prerequisites import FILE
from tests.data.test_cifar_c import prepare_cifar_c
from tests.data.test_pictures import contents, pack
from tests.data.test_torchvision_sets import prepare_celeba, prepare_cifar, prepare_svhn

if TYPE_CHECKING:
    from bench.report.model import Cell
    from tests.conftest import Project

SUITE = """\
[suite]
name = "{inside}"
[data]
dataset    = "{inside}"
validation = 1
[[model]]
family     = "gmmc-dis"
backbone   = "wrn-10-{width}"
seeds      = [1, 2]
epochs     = 1
batch_size = 2
warmup     = 0
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "ood"
sets = ["{outside}", "celeba", "textures"]
[[table]]
id      = "main"
columns = ["accuracy", "ood.log-density.auroc@{outside}", "ood.log-density.auroc@celeba",
           "ood.log-density.auroc@textures"]
"""
SIZES = {
    "cifar10": {"train": 15, "test": 3},
    "cifar100": {"train": 3, "test": 3},
    "svhn": {"train": 4, "test": 3},
    "celeba": {"test": 3},
    "textures": {"test": 4},
}


@pytest.fixture
def data(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data root with all sets."""
    root = project.bench.settings.data
    for name in ("cifar10", "cifar100"):
        prepare_cifar(name, root, monkeypatch)
    prepare_svhn(root, monkeypatch)
    prepare_celeba(root, monkeypatch, [0, 2, 1, 2, 2])
    md5 = pack(root / pictures.TEXTURES.archive, contents("textures"))
    monkeypatch.setattr(pictures, "TEXTURES", replace(pictures.TEXTURES, md5=md5, count=4))
    files = {name: getattr(sets, name.upper()) for name in ("cifar10", "cifar100", "svhn", "celeba")}
    files["textures"] = pictures.TEXTURES
    tiny = [
        replace(
            spec,
            find=files[spec.name].find,
            checksums=files[spec.name].checksums,
            fingerprint=files[spec.name].fingerprint,
            sizes=SIZES[spec.name],
        )
        for spec in SHIPPED
        if spec.name in files
    ]
    monkeypatch.setattr("bench.data.catalogue.DATASETS", tuple(tiny))
    DATASETS.reset()
    clear_cache()
    yield root
    DATASETS.reset()
    clear_cache()


@pytest.mark.parametrize(("inside", "outside"), [("cifar10", "svhn"), ("cifar100", "cifar10"), ("svhn", "cifar100")])
def test_a_suite_on_published_files_is_trained_and_measured(
    inside: str, outside: str, project: Project, data: Path
) -> None:
    width = 2 if inside == "cifar100" else 1
    suite = project.suite(SUITE.format(inside=inside, outside=outside, width=width), inside)
    run = project.bench.run(str(suite), in_process=True)
    assert run.exit_code(strict=True) == 0
    jobs = {job.id: project.bench.store.folder(job.key) for job in run.plan.jobs}
    for name, size in ((outside, 3), ("celeba", 3), ("textures", 4)):
        predicted = jobs[f"gmmc-dis/{inside}/seed1/predict/{name}"].arrays("outputs.npz")
        assert len(predicted["ids"]) == size
        assert np.isfinite(predicted["logits"]).all()
    (table,) = project.bench.tables(str(suite)).tables
    values = [cell.value for row in table.rows for cell in row.cells]
    assert len(values) == 4
    assert all(value is not None and 0 <= value <= 1 for value in values)
    # Everything that was read was verified before; CelebA has one file with a published checksum, Textures its archive.
    verified = (project.results / FILE).read_text()
    for path in ("list_eval_partition.txt", "dtd-r1.0.1.tar.gz"):
        assert path in verified
    assert [path.name.partition("-")[0] for path in sorted(decoded_folder().glob("*.npz"))] == ["celeba", "textures"]


@pytest.mark.parametrize(
    "file", ["cifar-10-batches-py/data_batch_3", "train_32x32.mat", "celeba/list_eval_partition.txt"]
)
def test_a_damaged_file_stops_the_run_before_anything_is_trained(file: str, project: Project, data: Path) -> None:
    inside = "svhn" if file.endswith(".mat") else "cifar10"
    suite = project.suite(SUITE.format(inside=inside, outside="cifar100", width=1), inside)
    (data / file).write_bytes(b"damaged")
    with pytest.raises(PrerequisiteError, match=rf"{Path(file).name} has MD5 \w+, expected"):
        project.bench.run(str(suite), in_process=True)
    assert not list(project.bench.store.folders())


def test_absent_faces_are_told_and_cost_no_other_number(project: Project, data: Path) -> None:
    lists = data / "celeba" / "list_eval_partition.txt"
    content = lists.read_bytes()
    lists.unlink()
    suite = project.suite(SUITE.format(inside="cifar10", outside="svhn", width=1), "cifar10")

    def run() -> list[Cell]:
        assert project.bench.run(str(suite), in_process=True).exit_code() == 0
        (table,) = project.bench.tables(str(suite)).tables
        return list(table.rows[0].cells)

    before = run()
    assert [cell.value is None for cell in before] == [False, False, True, False]
    assert "celeba/list_eval_partition.txt not found below" in str(before[2].reason)
    lists.write_bytes(content)
    after = run()
    assert None not in [cell.value for cell in after]
    assert [cell.value for cell in after[:2]] == [cell.value for cell in before[:2]]


def test_the_state_of_each_set_is_told(project: Project, data: Path) -> None:
    states = {state.name: state.text for state in published_states(project.bench, verify=True)}
    assert states["cifar10"] == states["svhn"] == states["textures"] == "found, verified"
    assert states["celeba"] == "found, verified (its images have no published checksums)"
    archive = data / pictures.TEXTURES.archive
    shutil.unpack_archive(archive, archive.parent)
    archive.unlink()
    (state,) = published_states(project.bench, ["textures"], verify=True)
    assert state.text == "found, but cannot be verified: only what is unpacked is there"


def test_without_any_of_its_sets_an_evaluation_is_told_when_planning(project: Project, data: Path) -> None:
    for file in ("celeba/list_eval_partition.txt", "test_32x32.mat", pictures.TEXTURES.archive):
        (data / file).unlink()
    plan = project.bench.plan(str(project.suite(SUITE.format(inside="cifar10", outside="svhn", width=1), "cifar10")))
    assert {job.evaluation: job.blocked is None for job in plan.jobs if job.kind == "evaluate"} == {
        "accuracy": True,
        "ood": False,
    }


@pytest.mark.parametrize("damaged", [False, True])
def test_published_corruptions_are_verified_and_measured(
    damaged: bool, project: Project, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = sets.load_cifar10(data, like=None, image_shape=None, seed=0)["test"].labels
    prepare_cifar_c("cifar10-c", data, monkeypatch, labels.tolist())
    files = cifar_c.CIFAR10_C
    described = next(spec for spec in SHIPPED if spec.name == "cifar10-c")
    tiny = replace(
        described,
        find=files.find,
        checksums=files.checksums,
        fingerprint=files.fingerprint,
        sizes={"test": 3},
    )
    monkeypatch.setattr("bench.data.catalogue.DATASETS", (*DATASETS.values(), tiny))
    DATASETS.reset()
    text, _, _ = SUITE.partition("[[evaluation]]")
    text += "[[evaluation]]\nkind = 'corruption'\nsource = 'published'\n"
    text += "[[table]]\nid = 'main'\ncolumns = ['corruption', 'corruption.fog@2']\n"
    suite = project.suite(text.format(inside="cifar10", width=1), "cifar10")
    if damaged:
        (data / "CIFAR-10-C" / "fog.npy").write_bytes(b"damaged")
        with pytest.raises(PrerequisiteError, match=r"fog\.npy has MD5 \w+, expected \w+ \(data set 'cifar10-c'\)"):
            project.bench.run(str(suite), in_process=True)
        return
    assert project.bench.run(str(suite), in_process=True).exit_code(strict=True) == 0
    (table,) = project.bench.tables(str(suite)).tables
    assert all(cell.value is not None and 0 <= cell.value <= 1 for cell in table.rows[0].cells)
    assert "CIFAR-10-C/fog.npy" in (project.results / FILE).read_text()
