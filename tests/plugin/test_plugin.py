"""A stranger's package: its family is trained and evaluated with nothing changed in the harness.

The package is a source tree of its own, made known as an installer would: a folder on ``PYTHONPATH`` with a
``dist-info`` beside it. Every command runs in a process of its own, as a stranger's would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

METADATA = """\
Metadata-Version: 2.1
Name: {name}
Version: 1.0
"""

SPECS = '''\
"""What planning needs to know of nearest-class-mean; free of torch."""

from bench.spec import BackboneSpec, FamilySpec, TrainingConfig
from pydantic import Field, PositiveFloat


class Config(TrainingConfig):
    epochs: int = Field(1, ge=1, description="One pass is enough")
    sharpness: PositiveFloat = Field(4.0, description="Logits are -sharpness * squared distance")


def parse(name):
    if name != "pixels":
        raise ValueError("the backbone is called pixels")
    return name


NEAREST_MEAN = FamilySpec(
    name="nearest-mean",
    label="nearest class mean",
    summary="Distance to the mean image of each class.",
    source="a textbook",
    config=Config,
    implementation="nearest_mean.model:NearestMean",
    capabilities=frozenset({"density"}),
    passes=lambda config: 1.0,
)

PIXELS = BackboneSpec(
    name="pixels",
    pattern="pixels",
    summary="The pixels themselves.",
    source="a textbook",
    implementation="nearest_mean.model:build",
    parse=parse,
    describe=lambda name, shape: {"features": shape[0] * shape[1] * shape[2]},
)
'''

MODEL = '''\
"""Nearest class mean on pixels: nothing of it is known to the harness."""

import torch
from torch import nn

from bench.family import Classifier, Family, Step, StreamSpec


class Pixels(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.feature_dim = None  # known when the first image comes

    def forward(self, images):
        return images.flatten(1)


def build(name, in_channels):
    return Pixels(in_channels)


class Model(Classifier):
    def __init__(self, backbone, num_classes, image_shape, sharpness):
        super().__init__(num_classes, image_shape)
        dim = image_shape[0] * image_shape[1] * image_shape[2]
        self.backbone, self.sharpness = backbone, sharpness
        self.means = nn.Parameter(torch.zeros(num_classes, dim))

    def features(self, images):
        return self.backbone(images)

    def classify(self, features):
        means = self.means.to(features.dtype)
        return -self.sharpness * (features[:, None] - means).square().sum(2)

    def class_centers(self):
        return self.means


class NearestMean(Family):
    def build(self, backbone, num_classes, image_shape):
        return Model(backbone, num_classes, image_shape, self.config.sharpness)

    def streams(self):
        return {"train": StreamSpec(augment=False, sigma=0.0)}

    def training_step(self, model, batches, state, iteration):
        batch = batches["train"]
        distance = (model.features(batch.images) - model.means[batch.labels]).square().sum(1)
        return Step(distance.mean())

    def after_training(self, model, clean):
        """The means themselves, whatever descent has made of them."""
        batches = list(clean())
        images = torch.cat([batch.images for batch in batches]).flatten(1)
        labels = torch.cat([batch.labels for batch in batches])
        with torch.no_grad():
            for label in range(model.num_classes):
                model.means[label] = images[labels == label].mean(0)
'''

SUITE = """\
[suite]
name = "strangers"

[data]
dataset = "digits"

[[model]]
family   = "nearest-mean"
backbone = "pixels"
seeds    = [1, 2]

[[evaluation]]
kind = "accuracy"

[[evaluation]]
kind = "calibration"

[[evaluation]]
kind   = "pgd"
steps  = 3
step   = "eps/2"
eps    = ["25/255"]
losses = ["ce", "margin", "distance"]
items  = 32

[[evaluation]]
kind  = "generation"
items = 32

[[table]]
id      = "main"
columns = ["accuracy", "calibration.ece@native", "pgd@25/255", "pgd.distance@25/255", "generation"]
"""

OURS = """\
[suite]
name = "ours"

[data]
dataset = "digits"

[[model]]
family       = "softmax"
backbone     = "wrn-10-1"
epochs       = 1
warmup       = 0
decay_epochs = []

[[evaluation]]
kind = "accuracy"

[[table]]
id      = "main"
columns = ["accuracy"]
"""

CAPS = """\
[profile]
name = "caps"

[caps]
train = 96
items = 16
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


def install(site: Path, name: str, files: Mapping[str, str], points: Mapping[str, Mapping[str, str]]) -> None:
    """A package and the metadata that make its entry points known."""
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA.format(name=name))
    groups = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in found.items()) for group, found in points.items()]
    (info / "entry_points.txt").write_text("\n".join(groups))


def install_nearest_mean(site: Path) -> None:
    install(
        site,
        "bench-nearest-mean",
        {"nearest_mean/__init__.py": "", "nearest_mean/specs.py": SPECS, "nearest_mean/model.py": MODEL},
        {
            "bench.families": {"nearest-mean": "nearest_mean.specs:NEAREST_MEAN"},
            "bench.backbones": {"pixels": "nearest_mean.specs:PIXELS"},
        },
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "suites" / "profiles").mkdir(parents=True)
    (root / "bench.toml").write_text('[paths]\nresults = "results"\ndata = "data"\nweights = "weights"\n')
    (root / "suites" / "strangers.toml").write_text(SUITE)
    (root / "suites" / "ours.toml").write_text(OURS)
    (root / "suites" / "profiles" / "caps.toml").write_text(CAPS)
    return root


@pytest.fixture
def site(tmp_path: Path) -> Path:
    site = tmp_path / "site-packages"
    site.mkdir()
    return site


@pytest.fixture
def command(root: Path, site: Path) -> Command:
    """Runs ``bench`` with the stranger's packages installed."""

    def call(*arguments: str, rc: int = 0) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
        found = subprocess.run(
            [sys.executable, "-m", "bench", *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert found.returncode == rc, found.stdout + found.stderr
        return found

    return call


def entries(found: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(found.stdout)["entries"]}


def test_its_family_is_listed_described_and_planned(command: Command, site: Path) -> None:
    install_nearest_mean(site)
    listed = entries(command("list", "families", "--json"))
    assert listed["nearest-mean"] == {
        "name": "nearest-mean",
        "summary": "Distance to the mean image of each class.",
        "origin": "bench-nearest-mean",
        "error": None,
    }
    assert "sharpness = 4" in command("describe", "nearest-mean").stdout
    assert "pixels" in command("list", "backbones").stdout
    assert "ok, 1 model" in command("check", "strangers").stdout


def test_a_suite_trains_and_evaluates_it(command: Command, site: Path, root: Path) -> None:
    install_nearest_mean(site)
    command("run", "strangers", "--workers", "2")
    (table,) = json.loads(command("table", "strangers", "--format", "json").stdout)["tables"]
    (row,) = table["rows"]
    assert (row["label"], row["family"]) == ("nearest class mean", "nearest-mean")
    cells = {cell["column"]: cell for cell in row["cells"]}
    assert cells["accuracy"]["seeds"] == [1, 2]
    # The means of the whole training set: the same for each seed, and good enough for nine digits in ten.
    assert cells["accuracy"]["value"] > 0.85
    assert cells["accuracy"]["sd"] == 0
    assert cells["calibration.ece@native"]["status"] == "ok"
    # It has class centers, so that even the loss made for GMMC can be asked for.
    assert cells["pgd.distance@25/255"]["status"] == "ok"
    assert cells["pgd@25/255"]["value"] < cells["accuracy"]["value"]
    assert cells["generation"]["status"] == "n/a"
    assert cells["generation"]["reason"] == "nearest class mean does not generate"

    # An edit of its code is never answered from the store: it declares no version.
    assert set(states(command).values()) == {"done", "n/a"}
    model = site / "nearest_mean" / "model.py"
    model.write_text(MODEL + "\n# A remark changes nothing.\n")
    assert set(states(command).values()) == {"done", "n/a"}
    model.write_text(MODEL.replace("images[labels == label].mean(0)", "images[labels == label].median(0).values"))
    assert set(states(command).values()) == {"pending", "n/a"}


def states(command: Command) -> dict[str, str]:
    return {job["job"]: job["state"] for job in json.loads(command("plan", "strangers", "--json").stdout)["jobs"]}


BROKEN: dict[str, tuple[dict[str, str], str, str]] = {
    "raises": ({"broken.py": 'raise RuntimeError("no licence")\n'}, "broken:SPEC", "RuntimeError: no licence"),
    "absent": ({}, "not_there:SPEC", "No module named 'not_there'"),
    "of another kind": ({"broken.py": "SPEC = 3\n"}, "broken:SPEC", "is a int, expected a FamilySpec"),
    "takes our name": (
        {"broken.py": "from bench_models.specs import JEM as SPEC\n"},
        "broken:SPEC",
        "registered twice",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_shown_as_broken(command: Command, site: Path, kind: str) -> None:
    files, reference, reason = BROKEN[kind]
    name = "jem" if kind == "takes our name" else "broken"
    install(site, "bench-broken", files, {"bench.families": {name: reference}})
    listed = entries(command("list", "families", "--json"))
    assert reason in listed[name]["error"]
    assert "bench-broken" in listed[name]["origin"]
    assert listed["softmax"]["error"] is None
    assert f"BROKEN: {listed[name]['error']}" in command("list", "families").stdout
    refused = command("describe", name, rc=2).stderr
    assert reason in refused
    assert "Traceback" not in refused


def test_a_suite_that_names_a_broken_plugin_says_what_is_wrong_with_it(
    command: Command, site: Path, root: Path
) -> None:
    files, reference, reason = BROKEN["raises"]
    install(site, "bench-broken", files, {"bench.families": {"broken": reference}})
    (root / "suites" / "ours.toml").write_text(OURS.replace('"softmax"', '"broken"'))
    refused = command("run", "ours", rc=2).stderr
    assert reason in refused
    assert "bench-broken" in refused
    assert "ours.toml:8" in refused
    assert "Traceback" not in refused


def test_ours_run_beside_a_broken_plugin_and_one_that_breaks_its_word(command: Command, site: Path, root: Path) -> None:
    """One distribution cannot be imported, another has a family without a training step: each harms itself alone."""
    files, reference, _ = BROKEN["raises"]
    install(site, "bench-broken", files, {"bench.families": {"broken": reference}})
    install_nearest_mean(site)
    (site / "nearest_mean" / "model.py").write_text(MODEL.replace("def training_step(", "def step("))
    both = OURS.replace("[[evaluation]]", '[[model]]\nfamily = "nearest-mean"\nbackbone = "pixels"\n\n[[evaluation]]')
    (root / "suites" / "ours.toml").write_text(both)
    found = command("run", "ours", "--profile", "caps", "--workers", "1", rc=1)
    assert "failed: nearest-mean/digits/seed1/train: TypeError" in found.stderr
    assert "training_step" in found.stderr
    (table,) = json.loads(command("table", "ours", "--profile", "caps", "--format", "json").stdout)["tables"]
    assert [row["cells"][0]["status"] for row in table["rows"]] == ["ok", "failed"]
