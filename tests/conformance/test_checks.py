"""Each check fails for a plug-in that breaks just this part of its contract, and says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from bench.cli.main import cli
from bench.conformance import NonConformingError, checks, small
from bench.conformance.network import Linear, LinearHead
from bench.conformance.of_family import checks as family_checks
from bench.errors import RequestError
from bench.family import Step
from bench.spec import FamilySpec, TrainingConfig

if TYPE_CHECKING:
    from tests.conftest import Project, Site


def failures(name: str, **options: Any) -> dict[str, str]:
    found = {}
    for check in checks(name, **options):
        try:
            check()
        except NonConformingError as error:
            found[check.name] = str(error)
    return found


@pytest.mark.parametrize(
    "name",
    [
        "softmax",
        "jem",
        "jem-pp",
        "sada-jem",
        "gmmc-dis",
        "gmmc-gen",
        "gmmc-joint",
        "mmc",
        "wrn-10-1",
        "wrn-10-1-batch",
    ],
)
def test_our_families_and_backbones_keep_their_contracts(name: str) -> None:
    params = {"start_generative": 1} if name == "gmmc-joint" else {}
    assert failures(name, params=params) == {}


@pytest.mark.parametrize("name", ["igebm", "igebm-conditional"])
def test_our_families_with_spectral_normalisation_keep_theirs(name: str) -> None:
    assert failures(name, params={"sampler": {"steps": 3, "buffer": 60}}) == {}


@pytest.mark.parametrize(
    ("name", "kind", "params"),
    [
        ("accuracy", None, {}),
        ("calibration", None, {}),
        ("pgd", "evaluation", {"eps": ["8/255"], "steps": 2, "items": 12}),
        ("pgd", "attack", {"steps": 2}),
        ("energy", None, {}),
        ("mahalanobis", None, {}),
    ],
)
def test_our_evaluations_attacks_and_scores_keep_theirs(name: str, kind: str | None, params: dict[str, Any]) -> None:
    assert failures(name, kind=kind, params=params) == {}


class Lost(LinearHead):
    """Keeps something in no buffer."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.shift = torch.zeros(())

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        return super().classify(features) + self.shift * torch.arange(3)


class Mixing(LinearHead):
    """Its logits depend on the rest of the batch."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        features = super().features(images)
        return features - features.mean(dim=0)


class Infinite(LinearHead):
    def evidence(self, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        return super().evidence(features, logits) / 0


class Unscaled(LinearHead):
    """Generates outside of [0, 1], and from global generators."""

    def sample(self, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        return torch.randn(len(labels), *self.image_shape)


class Broken(Linear):
    head: type[LinearHead] = LinearHead

    def build(self, backbone: nn.Module, num_classes: int, image_shape: tuple[int, int, int]) -> LinearHead:
        return self.head(backbone, num_classes, image_shape)


class BuildsLost(Broken):
    head = Lost

    def training_step(self, model: Any, batches: Any, state: Any, iteration: Any) -> Step:
        model.shift = model.shift + 1
        return super().training_step(model, batches, state, iteration)


class BuildsMixing(Broken):
    head = Mixing


class BuildsInfinite(Broken):
    head = Infinite


class BuildsUnscaled(Broken):
    head = Unscaled


_COUNT = [0]


class Drifting(Broken):
    """Depends on what was trained before in the process."""

    def training_step(self, model: Any, batches: Any, state: Any, iteration: Any) -> Step:
        step = super().training_step(model, batches, state, iteration)
        _COUNT[0] += 1
        return Step(step.loss * (1 + 0.1 * _COUNT[0]))


class Flat(Broken):
    def training_step(self, model: Any, batches: Any, state: Any, iteration: Any) -> Step:
        return Step(0 * super().training_step(model, batches, state, iteration).loss)


class Remembering(Broken):
    """The loss depends on a count that no checkpoint holds."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config)
        self.steps = 0

    def training_step(self, model: Any, batches: Any, state: Any, iteration: Any) -> Step:
        self.steps += 1
        return Step(super().training_step(model, batches, state, iteration).loss * self.steps)


@pytest.mark.parametrize(
    ("made", "check", "said"),
    [
        (BuildsMixing, "outputs do not depend on the rest of the batch", "in a batch and .* alone"),
        (BuildsInfinite, "outputs: features", "log_density: values that are not finite"),
        (Drifting, "training twice", "two trainings with one seed differ in"),
        (Remembering, "training interrupted", "interrupted and one that was not differ in"),
        (Flat, "training step", "a zero gradient in every parameter"),
        (BuildsLost, "weights saved and loaded", "is something no buffer"),
        (BuildsUnscaled, "samples: (N, C, H, W)", r"expected \[0, 1\]"),
        (BuildsUnscaled, "samples: row i", "differs from the same row alone"),
    ],
)
def test_a_check_finds_what_it_is_for(made: type, check: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.conformance.of_family.import_object", lambda _: made)
    spec: FamilySpec = replace(small.FAMILY, capabilities=frozenset({"density", "samples"}))
    (one,) = [one for one in family_checks("family", "small", spec, {}, None) if one.name.startswith(check)]
    with pytest.raises(NonConformingError, match=said):
        one()


def test_a_heavy_module_is_told_what_it_imports(site: Site) -> None:
    site.module("heavy_score", "import torch\nfrom entropy_score import ENTROPY as HEAVY\n")
    site.module("entropy_score", SCORE)
    (light, *_) = checks("heavy_score:HEAVY")
    with pytest.raises(NonConformingError, match="importing 'heavy_score' imports torch"):
        light()
    checks("entropy_score:ENTROPY")[0]()


SCORE = """\
import random
from typing import ClassVar
import numpy as np
from bench.scores.spec import Score

class Entropy(Score):
    name: ClassVar = "draws"
    label: ClassVar = "draws"
    summary: ClassVar = "It draws."
    source: ClassVar = "nowhere"
    reads: ClassVar = ("logits",)

    @property
    def definition(self):
        return "a random number"

    def score(self, outputs, fit):
        return np.array([random.SystemRandom().random() for _ in outputs["logits"]])

ENTROPY = Entropy()
"""


def test_a_score_that_draws_is_found(site: Site) -> None:
    site.module("entropy_score", SCORE)
    found = failures("entropy_score:ENTROPY")
    assert [name for name in found if name.startswith("it runs twice")]
    assert "derive noise from (seed, id of the item)" in next(iter(found.values()))


def test_what_is_wrong_with_the_request() -> None:
    with pytest.raises(RequestError, match="did you mean 'gmmc-gen'"):
        checks("gmmc-gne")
    with pytest.raises(RequestError, match="evaluation and attack are both called 'pgd'; say which: --kind evaluation"):
        checks("pgd")
    with pytest.raises(RequestError, match="cannot be imported: No module named"):
        checks("no_such_module_at_all:SPEC")
    with pytest.raises(RequestError, match="expected a FamilySpec"):
        checks("bench.spec:__name__")


def test_a_plug_in_of_this_folder_is_named_by_its_variable(project: Project) -> None:
    """The hint was a list of names that have nothing to do with it."""
    project.write("my_family/__init__.py", "")
    for name in ("my-family", "my_family"):
        with pytest.raises(RequestError, match="bench check-plugin my_family:SPEC"):
            checks(name)
    with pytest.raises(RequestError, match="valid: "):
        checks("quite-another")


def test_parameters_that_are_missing_or_wrong(project: Project) -> None:
    (required,) = [check for check in checks("module") if check.name.startswith("configuration")]
    with pytest.raises(RequestError, match="callable: Field required; --set callable=VALUE"):
        required()
    done = CliRunner().invoke(cli, ["check-plugin", "softmax", "--set", "lr=-1"], catch_exceptions=False)
    assert done.exit_code == 1
    assert (
        "FAIL  configuration: a short training is accepted\n      a training of two epochs: lr: Input should be "
        in done.stdout
    )


def test_the_command_has_a_line_for_each_check() -> None:
    done = CliRunner().invoke(cli, ["check-plugin", "wrn-10-1", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    rows = json.loads(done.stdout)["checks"]
    assert [row["ok"] for row in rows] == [True, True, True]
    said = CliRunner().invoke(cli, ["check-plugin", "wrn-10-1"], catch_exceptions=False).stdout.splitlines()
    assert len(said) == len(rows) + 1
    assert said[-1] == "3 of 3 checks passed"


def test_one_mistake_is_told_once() -> None:
    done = CliRunner().invoke(cli, ["check-plugin", "jem", "--set", "sampler.stepz=3"], catch_exceptions=False)
    assert done.exit_code == 1
    assert done.stdout.count("jem has no setting 'sampler.stepz'; did you mean 'sampler.steps'?") == 1
    assert "      as above" in done.stdout
