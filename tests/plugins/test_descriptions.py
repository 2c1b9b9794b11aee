"""What a family, backbone, data set and attack say of themselves is looked at before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from bench.attacks.named import ATTACKS
from bench.data.registry import DATASETS, dataset_problems
from bench.errors import RequestError, SuiteError
from bench.plugins.descriptions import attack_problems, backbone_problems, family_problems
from bench.registry import Registry, UnknownNameError
from bench.spec import BACKBONES, FAMILIES
from tests.conftest import TINY, Project, Site

MODULE = """\
from dataclasses import replace

from pydantic import Field, PositiveInt

from bench.data.registry import DATASETS
from bench.spec import BACKBONES, FAMILIES, BackboneSpec, TrainingConfig


class Config(TrainingConfig):
    size: PositiveInt = Field(3, description="A size")


class Wrong(TrainingConfig):
    epochs: PositiveInt = Field(0, description="A default that is not valid")


def fails(*arguments):
    raise RuntimeError("no")


FAMILY = replace(FAMILIES.get("softmax"), config=Config, paper={}, training_only=frozenset())
BACKBONE = BackboneSpec(
    name="net", pattern="net-<n>", summary="A network.", source="a paper", version=1,
    implementation="bench.weights.module_family:no_backbone",
    parse=lambda name: name.index("net"), describe=lambda name, shape: {"features": 64},
)
DATASET = DATASETS.get("digits")
CHANGED = replace(%s, %s)
"""


@pytest.mark.parametrize("spec", list(FAMILIES.values()), ids=lambda spec: spec.name)
def test_our_families_keep_the_contract(spec: Any) -> None:
    assert family_problems(spec) == []


def test_our_backbones_and_data_sets_keep_the_contract() -> None:
    assert [backbone_problems(spec) for spec in BACKBONES.values()] == [[]] * len(list(BACKBONES.values()))
    assert [dataset_problems(spec) for spec in DATASETS.values()] == [[]] * len(list(DATASETS.values()))


@pytest.mark.parametrize("attack", list(ATTACKS.values()), ids=ATTACKS.names())
def test_our_attacks_keep_the_contract(attack: object) -> None:
    assert attack_problems(attack) == []


FAMILY = [
    ("name='two words'", "name is 'two words', expected letters, digits"),
    ("label=''", "label is '', expected a text that says something"),
    ("summary=None", "summary is None"),
    ("source=3", "source is 3"),
    ("config=dict", "config is <class 'dict'>, expected a subclass of bench.spec.TrainingConfig"),
    ("config=Wrong", "config: the default of epochs: Input should be greater than 0, got 0"),
    ("implementation='mine'", "implementation is 'mine', expected 'package.module:attribute'"),
    ("version=1.5", "version is 1.5, expected a whole number of 0 or more, or None"),
    ("capabilities='density'", "capabilities is 'density', expected a frozenset"),
    ("readouts=()", "readouts is (), expected at least one name"),
    ("readouts=('native', 'native')", "expected at least one name, none twice"),
    ("readouts=('fitted',)", "none of default, fitted"),
    ("presets={'fast': {'epochs': 0}}", "presets['fast']: epochs: Input should be greater than 0, got 0"),
    ("presets={'fast': {'epoch': 1}}", "presets['fast']: epoch: Extra inputs are not permitted"),
    ("presets={'fast': 3}", "presets['fast'] is 3, expected settings by name"),
    ("paper={'epoch': 1}", "paper: 'epoch' is no setting of Config"),
    ("training_only=frozenset({'sampler.buffer'})", "training_only: 'sampler.buffer' is no setting of Config"),
    ("passes=3.0", "passes is 3.0, expected a function"),
    ("warn=None", "warn is None, expected a function"),
    ("unfit=None", "unfit is None, expected a function"),
    ("identity=1", "identity is 1, expected a function, or None"),
    ("needs_backbone='no'", "needs_backbone is 'no', expected True or False"),
    ("importers={'theirs': 'mine'}", "importers['theirs']: 'mine' is not of the form 'package.module:attribute'"),
    ("importers={'theirs': 'mine:nothing'}", "importers['theirs']: 'mine:nothing': module 'mine' has no 'nothing'"),
]
BACKBONE = [
    ("pattern=''", "pattern is ''"),
    ("parse=None", "parse is None, expected a function"),
    ("describe={}", "describe is {}, expected a function"),
    ("examples=('other',)", "examples: parse('other') raises ValueError: substring not found"),
    ("examples='net'", "examples is 'net', expected a tuple of names"),
    ("version=True", "version is True"),
    ("like=1", "like is 1, expected a function, or None"),
]
DATASET = [
    ("num_classes=0", "num_classes is 0, expected 1 or more, or None"),
    ("num_classes='10'", "num_classes is '10'"),
    ("image_shape=(8, 8)", "image_shape is (8, 8), expected (channels, height, width), or None"),
    ("image_shape=(1, 0, 8)", "image_shape is (1, 0, 8)"),
    ("augmentation='flip'", "augmentation is 'flip', expected 'none' or 'crop' or 'crop-flip'"),
    ("sizes={'train': -1}", "sizes is {'train': -1}, expected items by part"),
    ("sizes={'trian': 1}", "sizes: there is no part 'trian'"),
    ("fingerprint=''", "fingerprint is ''"),
    ("find=None", "find is None, expected a function"),
    ("version=-1", "version is -1, expected a whole number of 0 or more, or None"),
    ("location='here'", "location is 'here', expected a pathlib.Path, or None"),
]
CASES = [
    *(("FAMILY", FAMILIES, *case) for case in FAMILY),
    *(("BACKBONE", BACKBONES, *case) for case in BACKBONE),
    *(("DATASET", DATASETS, *case) for case in DATASET),
]


@pytest.mark.parametrize(("base", "registry", "change", "message"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES])
def test_a_description_is_found_broken(
    site: Site, base: str, registry: Registry[Any], change: str, message: str
) -> None:
    site.module("mine", MODULE % (base, change))
    with pytest.raises(UnknownNameError) as error:
        registry.get("mine:CHANGED")
    assert "'mine:CHANGED' breaks its contract: " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        ("FAMILY", "passes=lambda config: -1.0", "family 'softmax': passes(config) is -1.0, expected a finite number"),
        ("FAMILY", "passes=lambda config: float('nan')", "passes(config) is nan"),
        ("FAMILY", "passes=fails", "passes(config) raises RuntimeError: no"),
        (
            "FAMILY",
            "warn=lambda config, backbone: 'text'",
            "warn(config, backbone) is 'text', expected a tuple of texts",
        ),
        ("FAMILY", "identity=lambda config: {'a': object()}", "identity(config) raises TypeError"),
        ("FAMILY", "identity=lambda config: {'a': float('nan')}", "identity(config) raises ValueError"),
        ("FAMILY", "unfit=fails", "the family's spec cannot check it: RuntimeError: no"),
        ("FAMILY", "layout=lambda config: 3", "layout(config) is 3, expected a text"),
        ("FAMILY", "implementation='mine:Nothing'", "implementation 'mine:Nothing': module 'mine' has no 'Nothing'"),
        ("FAMILY", "implementation='nowhere.at:All'", "implementation 'nowhere.at:All' cannot be imported"),
        ("BACKBONE", "describe=fails", "backbone 'net': describe(name, image_shape) raises RuntimeError: no"),
        ("BACKBONE", "describe=lambda name, shape: {'features': None}", "expected numbers by name"),
        ("BACKBONE", "implementation='mine:Nothing'", "module 'mine' has no 'Nothing'"),
    ],
)
def test_what_a_description_answers_for_a_suite_is_found_by_check(
    project: Project, site: Site, base: str, change: str, message: str
) -> None:
    site.module("mine", MODULE % (base, change))
    family, backbone = ("mine:CHANGED", "wrn-10-1") if base == "FAMILY" else ("softmax", "mine:CHANGED")
    text = TINY.replace('"softmax"\nbackbone = "wrn-10-1"', f'"{family}"\nbackbone = "{backbone}"')
    text = text.replace('family   = "softmax"\nbackbone = "wrn-10-1"', f'family = "{family}"\nbackbone = "{backbone}"')
    with pytest.raises(SuiteError) as error:
        project.plan(text)
    assert message in str(error.value)
    assert all(problem.line is not None and problem.key.startswith("model[0]") for problem in error.value.problems)


def test_a_pattern_that_breaks_on_a_name_is_named(site: Site, project: Project) -> None:
    site.module("mine", MODULE % ("BACKBONE", "name='net', parse=fails, examples=()"))
    site.distribution("a-plug-in", "bench.backbones", {"net": "mine:CHANGED"})
    with pytest.raises(UnknownNameError, match=r"backbone 'net': parse\('wrm-10-1'\) raises RuntimeError"):
        BACKBONES.get("wrm-10-1")


def test_a_data_set_that_cannot_say_whether_it_is_there_is_named(site: Site, project: Project) -> None:
    site.module("mine", MODULE % ("DATASET", "name='mine', find=fails"))
    with pytest.raises(RequestError, match=r"data set 'mine': find\(root\) raises RuntimeError: no"):
        project.plan(TINY.replace('"digits"', '"mine:CHANGED"'))


ATTACK = """\
from typing import ClassVar

from bench.attacks.spec import Attack, Count


class Mine(Attack):
    name: ClassVar[str] = "mine-t"
    summary: ClassVar[str] = "Does nothing."
    source: ClassVar[str] = "this test"
    steps: Count = 3

    def definition(self, threat, targets=None):
        return f"mine[{self.steps}]"

    def passes(self):
        return 2.0 * self.steps

    def attack(self, problem):
        raise NotImplementedError


class Wrong(Mine):
    name: ClassVar[str] = "wrong-t"
    %s


MINE, WRONG = Mine(), Wrong()
"""


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("norms: ClassVar = ('l1',)", "norms is ('l1',), expected a tuple of 'linf' and 'l2'"),
        ("summary: ClassVar = ''", "summary is '', expected a text that says something"),
        ("own: ClassVar = 1", "own is 1, expected True or False"),
        ("version: ClassVar = '2'", "version is '2', expected a whole number of 0 or more, or None"),
        ("def passes(self): return float('nan')", "passes() is nan, expected a finite number of 0 or more"),
        ("def passes(self): return 1 / 0", "passes() raises ZeroDivisionError: division by zero"),
        ("def definition(self, threat, targets=None): return None", "definition(linf) is None, expected a text"),
        ("def impossible(self, norm, shape, classes): return 3", "impossible(linf, (3, 32, 32), 10) is 3, expected"),
        ("is_random = property(lambda self: 'yes')", "is_random is 'yes', expected True or False"),
        ("decided_by = property(lambda self: 'best')", "decided_by is 'best', expected 'final' or 'any'"),
    ],
)
def test_an_attack_is_found_broken(site: Site, line: str, problem: str) -> None:
    site.module("mine_attack_t", ATTACK % line)
    site.distribution(
        "mine-attack", "bench.attacks", {"mine-t": "mine_attack_t:MINE", "wrong-t": "mine_attack_t:WRONG"}
    )
    ATTACKS.reset()
    try:
        found = {entry.name: entry for entry in ATTACKS.entries()}
        assert found["mine-t"].error is None
        assert problem in str(found["wrong-t"].error)
        assert found["pgd"].error is None
    finally:
        ATTACKS.reset()
