"""Each check of a data set fails for one that breaks just this part of its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.conformance import NonConformingError, checks

if TYPE_CHECKING:
    from tests.conftest import Project, Site

SET = """\
import numpy as np
from bench.data.spec import DatasetSpec, Split, always_found

def load(root, *, like, image_shape, seed):
    return {{"train": made(60, 1), "test": made(20, 2)}}

def made(items, number):
    images = np.random.default_rng({seed}).random((items, 1, 8, 8), dtype=np.float32)
    return Split.numbered(images, np.arange(items) % {classes})

DATASET = DatasetSpec(
    name="ours", summary="s", source="s", license="none", num_classes={told}, image_shape=(1, 8, 8),
    implementation="our_set:load", find={find}, fingerprint="made", validation=10, sizes={sizes},
)
"""
RIGHT = {"seed": "number", "classes": "4", "told": "4", "find": "always_found", "sizes": '{"train": 60, "test": 20}'}
LOADED = "training: parts, shapes, labels and values that it declares"
TRAINED_TWICE = "training: loaded twice, the same items"
OTHER_TWICE = "as another set: loaded twice, the same items, and a cap keeps the first"


def failures(name: str) -> dict[str, str]:
    found = {}
    for check in checks(name):
        try:
            check()
        except Exception as error:
            found[check.name] = f"{type(error).__name__}: {error}"
    return found


def ours(site: Site, **changed: str) -> dict[str, str]:
    site.module("our_set", SET.format(**RIGHT | changed))
    return failures("our_set:DATASET")


def test_one_that_keeps_its_contract(project: Project, site: Site) -> None:
    assert ours(site) == {}


@pytest.mark.parametrize("name", ["digits", "patches", "uniform", "interpolations"])
def test_shipped_sets_keep_theirs(project: Project, name: str) -> None:
    assert failures(name) == {}


def test_only_sets_with_classes_are_trained_on(project: Project) -> None:
    assert any("training" in check.name for check in checks("digits"))
    assert not any("training" in check.name for check in checks("uniform"))


def test_items_that_change_from_load_to_load(project: Project, site: Site) -> None:
    found = ours(site, seed="None")
    assert set(found) == {TRAINED_TWICE, OTHER_TWICE}
    assert "ours, train: other images in the second load; draw from a generator" in found[TRAINED_TWICE]


def test_a_class_without_items(project: Project, site: Site) -> None:
    assert ours(site, told="6") == {
        "training: every class has items": "NonConformingError: num_classes is 6; no training item has the label 4, 5"
    }


def test_labels_beyond_the_classes(project: Project, site: Site) -> None:
    found = ours(site, told="3")
    assert found[LOADED].startswith(NonConformingError.__name__)
    assert "labels 0 to 3, expected 0 to 2" in found[LOADED]


def test_other_sizes_than_it_says(project: Project, site: Site) -> None:
    found = ours(site, sizes='{"train": 61, "test": 20}')
    assert "60 items, expected 61" in found[LOADED]


def test_missing_files(project: Project, site: Site) -> None:
    found = ours(site, find="lambda root: 'put x.bin there'")
    assert found["its files are there"].endswith("put x.bin there")
    assert all("put x.bin there" in told for told in found.values())


def test_a_heavy_description(project: Project, site: Site) -> None:
    site.module("our_set", "import torch\n" + SET.format(**RIGHT))
    assert "imports torch" in failures("our_set:DATASET")["its module imports without torch"]
