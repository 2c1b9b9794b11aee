from __future__ import annotations

from pathlib import Path

import pytest
import torchvision

from bench.data import fashion_mnist, mnist, pictures, torchvision_sets
from bench.data.catalogue import DATASETS
from bench.data.spec import DatasetSpec
from bench.registry import import_object

BY_NAME = {spec.name: spec for spec in DATASETS}


def test_names_are_the_announced_ones_without_repetition() -> None:
    assert [spec.name for spec in DATASETS] == [
        "digits",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "cifar10-c",
        "cifar100-c",
        "svhn",
        "celeba",
        "mnist",
        "textures",
        "places365",
        "tiny-imagenet",
        "patches",
        "interpolations",
        "uniform",
        "constant",
    ]


@pytest.mark.parametrize("spec", DATASETS, ids=lambda spec: spec.name)
def test_every_implementation_exists_and_every_set_says_where_it_comes_from(spec: DatasetSpec) -> None:
    assert callable(import_object(spec.implementation))
    assert spec.summary
    assert spec.source
    assert spec.license
    assert spec.fingerprint


def test_checksums_are_those_that_torchvision_publishes() -> None:
    for ours, theirs in (
        (torchvision_sets.CIFAR10, torchvision.datasets.CIFAR10),
        (torchvision_sets.CIFAR100, torchvision.datasets.CIFAR100),
    ):
        files = [*theirs.train_list, *theirs.test_list, (theirs.meta["filename"], theirs.meta["md5"])]
        files_of = {f"{theirs.base_folder}/{name}": md5 for name, md5 in files}
        assert ours.digests == files_of
    parts = torchvision.datasets.SVHN.split_list
    svhn = {parts[part][1]: parts[part][2] for part in ("train", "test")}
    assert svhn == torchvision_sets.SVHN.digests
    lists = {f"celeba/{name}": md5 for _, md5, name in torchvision.datasets.CelebA.file_list}
    assert torchvision_sets.CELEBA.digests.items() <= lists.items()
    resources = torchvision.datasets.MNIST.resources
    assert {f"MNIST/raw/{name}": md5 for name, md5 in resources} == mnist.MNIST.digests
    assert pictures.TEXTURES.md5 == torchvision.datasets.DTD._MD5
    archive = torchvision.datasets.Places365._IMAGES_META["val", True]
    assert (pictures.PLACES365.archive, pictures.PLACES365.md5) == archive


def test_published_digests_of_fashion_mnist_are_in_its_documentation() -> None:
    text = Path(fashion_mnist.__file__).read_text()
    resources = torchvision.datasets.FashionMNIST.resources
    positions = [text.index(md5) for _, md5 in resources]
    assert positions == sorted(positions)
    assert [name.removesuffix(".gz") for name, _ in resources] == list(fashion_mnist.SHA256)


def test_protocol_sizes_classes_and_augmentation() -> None:
    assert BY_NAME["cifar10"].sizes["train"] - BY_NAME["cifar10"].validation == 45_000
    assert BY_NAME["svhn"].sizes["train"] - BY_NAME["svhn"].validation == 68_257
    assert BY_NAME["svhn"].sizes["test"] == 26_032
    assert BY_NAME["celeba"].sizes == {"test": 19_962}
    assert BY_NAME["digits"].sizes["train"] - BY_NAME["digits"].validation == 1_200
    assert BY_NAME["digits"].sizes["test"] == BY_NAME["digits"].test == 397
    assert BY_NAME["cifar100"].num_classes == 100
    augmentation = {name: BY_NAME[name].augmentation for name in ("cifar10", "cifar100", "svhn", "digits")}
    assert augmentation == {"cifar10": "crop-flip", "cifar100": "crop-flip", "svhn": "crop", "digits": "none"}


def test_missing_files_are_named_with_the_place_to_put_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "not installed")
    expected = {
        "fashion-mnist": ("train-images-idx3-ubyte", "fashion-mnist"),
        "cifar10": ("cifar-10-batches-py/data_batch_1", "cifar-10-python.tar.gz"),
        "cifar100": ("cifar-100-python/train", "cifar-100-python.tar.gz"),
        "cifar10-c": ("CIFAR-10-C/gaussian_noise.npy and 15 more", "CIFAR-10-C.tar"),
        "cifar100-c": ("CIFAR-100-C/gaussian_noise.npy and 15 more", "CIFAR-100-C.tar"),
        "svhn": ("train_32x32.mat", "test_32x32.mat"),
        "celeba": ("celeba/list_eval_partition.txt", "img_align_celeba.zip"),
        "mnist": ("MNIST/raw/train-images-idx3-ubyte.gz", "MNIST/raw"),
        "textures": ("dtd/dtd-r1.0.1.tar.gz", "dtd/dtd/images"),
        "places365": ("val_256.tar", "val_256"),
        "tiny-imagenet": ("tiny-imagenet-200.zip", "tiny-imagenet-200/val"),
    }
    for name, words in expected.items():
        sentence = BY_NAME[name].find(tmp_path)
        assert sentence is not None, name
        assert str(tmp_path) in sentence
        for word in words:
            assert word in sentence
    for name in ("digits", "patches", "interpolations", "uniform", "constant"):
        assert BY_NAME[name].find(tmp_path) is None
