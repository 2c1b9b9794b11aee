from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import SuiteError
from bench.suite.schema import Suite

if TYPE_CHECKING:
    from tests.conftest import Project

SUITE = """\
[suite]
name = "s"
[data]
dataset = "cifar10"
[[model]]
family = "softmax"
backbone = "wrn-28-10"
seeds = [1, 2, 3]
epochs = 100
[[model]]
family = "gmmc-gen"
backbone = "wrn-28-10"
epochs = 100
[model.sampler]
steps = 20
buffer = 5_000
[[evaluation]]
kind = "ood"
sets = ["svhn", "patches"]
[[evaluation]]
kind = "pgd"
eps = ["8/255"]
items = 1_000
[[table]]
id = "t"
columns = ["ood@svhn", "pgd@8/255"]
"""

PROFILE = """\
[profile]
name = "small"

[substitute.data]
cifar10 = "digits"
svhn = "interpolations"

[model]
backbone = "wrn-10-1"
epochs = 3
[model.sampler]
steps = 5

[model.gmmc-gen]
epochs = 4

[evaluation.pgd]
steps = 2

[caps]
items = 64
seeds = 2
"""


def load(project: Project, profile: str, suite: str = SUITE) -> Suite:
    return project.bench.suite(str(project.suite(suite)), str(project.profile(profile)))


def messages(project: Project, profile: str, suite: str = SUITE) -> list[tuple[str, int | None, str, str, str]]:
    """File, line, key, message and hint of everything that is wrong."""
    with pytest.raises(SuiteError) as error:
        load(project, profile, suite)
    problems = error.value.problems
    return [(p.file.name if p.file else "", p.line, p.key, p.message, p.hint) for p in problems]


def test_values_replace(project: Project) -> None:
    suite = load(project, PROFILE)
    softmax, gmmc = suite.models
    assert suite.profile == "small"
    assert {softmax.backbone_name, gmmc.backbone_name} == {"wrn-10-1"}
    assert (softmax.config.epochs, gmmc.config.epochs) == (3, 4)
    sampler = gmmc.config.model_dump()["sampler"]
    assert (sampler["steps"], sampler["buffer"]) == (5, 5_000)
    assert not hasattr(softmax.config, "sampler")


def test_caps_bound(project: Project) -> None:
    suite = load(project, PROFILE)
    assert [model.seeds for model in suite.models] == [(1, 2), (1,)]
    assert suite.evaluations[1].config.model_dump()["items"] == 64
    assert load(project, PROFILE.replace("items = 64", "items = 5_000")).evaluations[1].config.model_dump() == {
        **suite.evaluations[1].config.model_dump(),
        "items": 1_000,
    }


def test_labels_show_resolved_values(project: Project) -> None:
    suite = load(project, PROFILE)
    (_, pgd) = suite.tables[0].columns
    assert pgd.column.group == "PGD-2, 8/255"
    assert pgd.column.definition.startswith("pgd-linf[2, 8/255,")


def test_data_sets_are_substituted_wherever_they_are_named(project: Project) -> None:
    suite = load(project, PROFILE)
    assert (suite.dataset.name, suite.original_dataset) == ("digits", "cifar10")
    assert suite.evaluations[0].config.model_dump()["sets"] == ("interpolations", "patches")
    assert [column.id for column in suite.tables[0].columns] == ["ood@interpolations", "pgd@8/255"]
    assert suite.substitutions == (("cifar10", "digits"), ("svhn", "interpolations"))


def test_the_shipped_profile_fits_a_suite_on_cifar10(project: Project) -> None:
    suite = project.bench.suite(str(project.suite(SUITE)), "smoke")
    assert suite.dataset.name == "digits"
    assert suite.profile == "smoke"


def test_in_and_out_of_distribution_sets_stay_different(project: Project) -> None:
    found = messages(project, PROFILE.replace('"interpolations"', '"digits"'))
    assert len(found) == 1
    assert "'digits' is the in-distribution data set" in found[0][3]
    assert found[0][:3] == ("small.toml", 6, "substitute.data.svhn")


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "message", "hint"),
    [
        ("epochs = 3", 'epochs = "x"', 10, "model.epochs", "expected a whole number, got 'x'", ""),
        ("epochs = 3", "epoch = 3", 10, "model.epoch", "unknown key", "did you mean 'epochs'?"),
        ("[model.gmmc-gen]", "[model.gmmc-gne]", 14, "model.gmmc-gne", "unknown key", "did you mean 'gmmc-gen'?"),
        ("epochs = 4", "epochz = 4", 15, "model.gmmc-gen.epochz", "unknown key", "did you mean 'epochs'?"),
        (
            "steps = 5",
            "step = 5",
            12,
            "model.sampler.step",
            "unknown key",
            "did you mean 'steps'?",
        ),
        ('"wrn-10-1"', '"wrn-10"', 9, "model.backbone", "unknown backbone 'wrn-10'", None),
        ("[evaluation.pgd]", "[evaluation.pdg]", 17, "evaluation.pdg", "unknown evaluation 'pdg'", "'pgd'?"),
        ("steps = 2", "restart = 2", 18, "evaluation.pgd.restart", "unknown key", "did you mean 'restarts'?"),
        ('"digits"', '"digit"', 5, "substitute.data.cifar10", "unknown data set 'digit'", "did you mean 'digits'?"),
        ('"interpolations"', '"patchs"', 6, "substitute.data.svhn", "unknown data set 'patchs'", "mean 'patches'?"),
        ("[substitute.data]", "[substitute.dota]", 4, "substitute.dota", "unknown key", "did you mean 'data'?"),
        ("seeds = 2", "seeds = 0", 22, "caps.seeds", "input should be greater than 0, got 0", ""),
        ("seeds = 2", "seed = 2", 22, "caps.seed", "unknown key", "did you mean 'seeds'?"),
    ],
)
def test_a_mistake_is_located_in_the_profile(
    project: Project, old: str, new: str, line: int, key: str, message: str, hint: str | None
) -> None:
    assert old in PROFILE
    ((file, *found),) = messages(project, PROFILE.replace(old, new, 1))
    assert file == "small.toml"
    assert found[:3] == [line, key, message]
    if hint is not None:
        assert str(found[3]).endswith(hint)


def test_a_value_that_one_family_refuses_is_reported_once(project: Project) -> None:
    """Both models take the profile's value; a reader has one place to mend."""
    found = messages(project, PROFILE.replace("epochs = 3", "epochs = -3").replace("epochs = 4", "lr = 1"))
    assert [item[:3] for item in found] == [("small.toml", 10, "model.epochs")]


def test_the_suite_itself_is_not_changed(project: Project) -> None:
    load(project, PROFILE)
    plain = project.bench.suite("tiny")
    assert plain.profile is None
    assert plain.models[0].config.epochs == 100
    assert plain.evaluations[1].config.model_dump()["steps"] == 40
