"""What a profile changes in a suite, and what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
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


def test_groups_of_sets_follow_the_substitutes(project: Project) -> None:
    """A group keeps its name; sets of a group that share a substitute count once."""
    groups = 'groups = { near = ["svhn"], far = ["patches", "svhn"] }'
    suite = SUITE.replace('sets = ["svhn", "patches"]', f'sets = ["svhn", "patches"]\n{groups}')
    suite = suite.replace('"ood@svhn"', '"ood@far"')
    config = load(project, PROFILE, suite).evaluations[0].config.model_dump()
    assert config["sets"] == ("interpolations", "patches")
    assert config["groups"] == {"near": ("interpolations",), "far": ("patches", "interpolations")}
    alike = PROFILE.replace('svhn = "interpolations"', 'svhn = "uniform"\npatches = "uniform"')
    loaded = load(project, alike, suite)
    assert loaded.evaluations[0].config.model_dump()["groups"] == {"near": ("uniform",), "far": ("uniform",)}
    assert [column.id for column in loaded.tables[0].columns] == ["ood@far", "pgd@8/255"]


def test_a_mistake_in_a_group_is_reported_at_its_place(project: Project) -> None:
    suite = SUITE.replace('sets = ["svhn", "patches"]', 'sets = ["svhn"]\ngroups = { near = ["svhn", "svhn"] }')
    (_, line, key, said, _), *_ = messages(project, PROFILE.replace('svhn = "interpolations"\n', ""), suite)
    assert (line, key, said) == (20, "evaluation[0].groups.near[1]", "'svhn' is listed twice")


def test_a_mistake_in_a_group_names_the_set_of_the_file(project: Project) -> None:
    """The evaluation sees the substitute alone; who wrote the suite knows the original."""
    suite = SUITE.replace('sets = ["svhn", "patches"]', 'sets = ["patches"]\ngroups = { near = ["svhn"] }')
    suite = suite.replace('"ood@svhn"', '"ood@patches"')
    (_, line, key, said, hint), *_ = messages(project, PROFILE, suite)
    assert (line, key) == (17, "evaluation[0]")
    assert "'interpolations' in 'near' is not among the sets" in said
    assert "'interpolations' is the profile's substitute of 'svhn'" in hint


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


@pytest.mark.parametrize("table", ["sampler = 3", "sampler = [3]", "sampler = [{steps = 3}]"])
def test_what_stands_in_the_place_of_a_table_is_reported_where_it_stands(project: Project, table: str) -> None:
    suite = SUITE.replace("[model.sampler]\nsteps = 20\nbuffer = 5_000\n", f"{table}\n")
    ((file, line, key, message, _),) = messages(project, PROFILE, suite)
    assert (file, line, key) == ("tiny.toml", 14, "model[1].sampler")
    assert message.startswith("expected a table, got ")


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


@pytest.mark.parametrize("label", ["JEM with 20 steps and lr 20", "JEM, long"])
def test_a_label_that_does_not_say_the_value_gets_it_added(project: Project, label: str) -> None:
    jem = '[[model]]\nfamily = "jem"\nbackbone = "wrn-28-10"\n'
    rows = f'{jem}label = "{label}"\n[model.sampler]\nsteps = 20\n'
    rows += f'{jem}name = "b"\nlabel = "b"\n[model.sampler]\nsteps = 40\n'
    text = SUITE.replace("[[evaluation]]", f"{rows}[[evaluation]]", 1) + f'models = ["{label}", "b"]\n'
    suite = load(project, PROFILE, text)
    assert [model.label for model in suite.models if model.family_name == "jem"] == [
        f"{label} (steps 2)",
        "b (steps 5)",
    ]
    assert suite.tables[0].rows == ("jem", "b")


def test_networks_that_differ_stay_different_and_keep_their_options(project: Project) -> None:
    names = ["wrn-28-10", "wrn-16-4", "wrn-28-10-batch"]
    models = "".join(
        f'[[model]]\nfamily = "softmax"\nname = "m{i}"\nlabel = "L {name}"\nbackbone = "{name}"\n'
        for i, name in enumerate(names)
    )
    start = '[[model]]\nfamily = "jem"\nbackbone = "wrn-16-4"\ninit_from = "m1"\n'
    text = f'[suite]\nname = "s"\n[data]\ndataset = "svhn"\n{models}{start}[[evaluation]]\nkind = "accuracy"\n'
    suite = project.bench.suite(str(project.suite(text)), "smoke")
    assert [m.backbone_name for m in suite.models] == ["wrn-10-2", "wrn-10-1", "wrn-10-2-batch", "wrn-10-1"]
    assert [m.label for m in suite.models[:3]] == ["L wrn-10-2", "L wrn-10-1", "L wrn-10-2-batch"]


def test_own_and_other_sets_are_substituted_apart(project: Project) -> None:
    """SVHN is one suite's own set and another's out-of-distribution set; no two sets share a substitute."""
    for own, others in (("svhn", ["cifar10", "cifar100"]), ("cifar100", ["svhn", "cifar10", "celeba"])):
        text = SUITE.replace('"cifar10"', f'"{own}"').replace('["svhn", "patches"]', str(others).replace("'", '"'))
        suite = project.bench.suite(str(project.suite(text.replace("ood@svhn", f"ood@{others[0]}"))), "smoke")
        sets = suite.evaluations[0].config.model_dump()["sets"]
        assert suite.dataset.name == "digits"
        assert len(set(sets)) == len(others)
        assert "digits" not in sets
        assert suite.tables[0].columns[0].column.argument == sets[0]
        assert suite.substitutions == ((own, "digits"), *zip(others, sets, strict=True))


def test_more_sets_than_substitutes_share_one_and_are_measured_once(project: Project) -> None:
    profile = PROFILE.replace('svhn = "interpolations"', '[substitute.ood]\nsvhn = "uniform"\nceleba = ["uniform"]')
    text = SUITE.replace('["svhn", "patches"]', '["svhn", "celeba", "patches"]').replace(
        '"ood@svhn"', '"ood@svhn", "ood@celeba"'
    )
    suite = load(project, profile, text)
    assert suite.evaluations[0].config.model_dump()["sets"] == ("uniform", "patches")
    assert [column.id for column in suite.tables[0].columns] == ["ood@uniform", "pgd@8/255"]


def test_a_profile_for_models_with_a_backbone_lets_others_be(project: Project) -> None:
    module = '[[model]]\nfamily = "module"\ncallable = "bench.weights.module_family:no_backbone"\n[[evaluation]]'
    suite = project.bench.suite(str(project.suite(SUITE.replace("[[evaluation]]", module, 1))), "smoke")
    assert [model.backbone_name for model in suite.models] == ["wrn-10-1", "wrn-10-1", "none"]


def test_own_data_with_many_classes_or_few_items(project: Project) -> None:
    for name, items, classes in (("many", 3_000, 250), ("few", 120, 3)):
        (project.root / "suites").mkdir(exist_ok=True)
        y = np.arange(items) % classes
        np.savez(project.root / "suites" / f"{name}.npz", x=np.zeros((items, 8, 8), np.uint8), y=y)
        text = SUITE.replace('"cifar10"', f'"{name}.npz"')
        suite = project.bench.suite(str(project.suite(text)), "smoke")
        assert suite.num_classes == classes
        assert suite.models[1].config.model_dump()["sampler"]["buffer"] >= classes
        if name == "many":  # 250 centers need 249 features: wrn-10-1 has 64
            assert [model.backbone_name for model in suite.models] == ["wrn-28-10", "wrn-28-10"]
        else:
            assert suite.data.validation is None
            assert suite.models[0].config.batch_size <= 86


def test_a_bound_keeps_contrasts(project: Project) -> None:
    jem = '[[model]]\nfamily = "jem"\nbackbone = "wrn-28-10"\n'
    rows = f'{jem}epochs = 50\n{jem}name = "b"\nlabel = "JEM, 100 epochs"\nepochs = 100\n'
    text = SUITE.replace("[[evaluation]]", f"{rows}[[evaluation]]", 1)
    suite = project.bench.suite(str(project.suite(text)), "quick")
    assert [model.config.epochs for model in suite.models if model.family_name == "jem"] == [14, 28]
    assert suite.models[-1].label == "JEM, 28 epochs"


def test_learning_rates_of_different_optimisers_are_no_contrast(project: Project) -> None:
    model = '[[model]]\nfamily = "softmax"\nbackbone = "wrn-28-10"\n'
    others = f'{model}name = "bn"\nlabel = "bn"\npreset = "wrn-bn"\n{model}name = "slow"\nlabel = "slow"\nlr = 5e-5\n'
    profile = '[profile]\nname = "p"\n[model]\nbackbone = "wrn-10-1"\nlr = 2e-3\n'
    rates = {model.name: model.config.lr for model in load(project, profile, SUITE + others).models}
    assert rates == {"softmax": 2e-3, "gmmc-gen": 2e-3, "bn": 2e-3, "slow": 1e-3}


def test_a_profile_with_keys_that_one_family_lacks(project: Project) -> None:
    profile = PROFILE.replace("steps = 5", 'steps = 5\nmode = "inject"\ndecay_power = 0.5')
    jem = '[[model]]\nfamily = "jem"\nbackbone = "wrn-28-10"\n[[evaluation]]'
    suite = load(project, profile, SUITE.replace("[[evaluation]]", jem, 1))
    gmmc, jem_model = (model.config.model_dump()["sampler"] for model in suite.models[1:])
    assert (gmmc["mode"], jem_model["decay_power"]) == ("inject", 0.5)
