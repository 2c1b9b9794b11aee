"""The shipped profiles shrink every shipped suite, and any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.suite.schema import Suite

if TYPE_CHECKING:
    from tests.conftest import Project

ROOT = Path(__file__).parents[2]

SHIPPED_SUITES = sorted(path.stem for path in (ROOT / "suites").glob("*.toml"))

SHIPPED_PROFILES = sorted(path.stem for path in (ROOT / "suites" / "profiles").glob("*.toml"))


def structure(suite: Suite) -> Any:
    """What a profile leaves as it is: who is compared, how often, in which tables."""
    return (
        [(model.name, model.family_name, model.init_from, model.weights) for model in suite.models],
        [(one.id, one.evaluation.name) for one in suite.evaluations],
        [(table.id, table.rows, len(table.columns), table.literature) for table in suite.tables],
    )


def contrasts(suite: Suite) -> Any:
    """Which models of a family, and which evaluations of a kind, are the same."""
    models = [(m.family_name, m.backbone_name, m.init_from, m.config, m.weights) for m in suite.models]
    evaluations = [(one.kind, one.config) for one in suite.evaluations]
    return [[one == other for other in group] for group in (models, evaluations) for one in group]


@pytest.mark.parametrize("profile", SHIPPED_PROFILES)
@pytest.mark.parametrize("name", SHIPPED_SUITES)
def test_every_shipped_profile_shrinks_every_shipped_suite(project: Project, name: str, profile: str) -> None:
    plain, shrunk = project.bench.suite(name), project.bench.suite(name, profile)
    assert structure(shrunk) == structure(plain)
    assert contrasts(shrunk) == contrasts(plain)
    assert shrunk.dataset.name == "digits"
    assert len({model.label for model in shrunk.models}) == len(shrunk.models)
    before, after = (sum(job.passes for job in project.bench.plan(name, profile=p).jobs) for p in (None, profile))
    assert after < before or name in ("digits", "masking")  # which are as small as the profile `quick` by themselves


def test_the_rows_of_table_10_stay_three(project: Project) -> None:
    suite = project.bench.suite("table10", "smoke")
    rows = {model.name: model for model in suite.models}
    steps = [rows[f"jem-{steps}"].config.model_dump()["sampler"]["steps"] for steps in (20, 50, 100)]
    assert steps == [2, 5, 10]
    assert [rows[f"jem-{n}"].label for n in (20, 50, 100)] == [f"softmax → JEM, {n} steps" for n in (2, 5, 10)]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ('family = "gmmc-joint"\nepochs = 10\nstart_generative = 5', {"start_generative": 5, "epochs": 10}),
        ('family = "softmax"\nbatch_size = 4_096', {"batch_size": 1_200}),
    ],
)
def test_a_value_at_odds_with_the_suite_gives_way(project: Project, model: str, expected: dict[str, Any]) -> None:
    text = f'[suite]\nname = "s"\n[data]\ndataset = "cifar10"\n[[model]]\n{model}\nbackbone = "wrn-28-10"\n'
    suite = project.bench.suite(str(project.suite(text + '[[evaluation]]\nkind = "accuracy"\n')), "quick")
    values = suite.models[0].config.model_dump()
    assert {key: values[key] for key in expected} == expected
    assert values["lr"] == 2e-3  # the others hold


class Suites:
    """Draws suites: families, data, evaluations and columns that each are right."""

    OUTSIDE = ("svhn", "cifar10", "cifar100", "celeba", "fashion-mnist", "digits", "patches", "uniform", "constant")
    BACKBONES = ("wrn-28-10", "wrn-16-4", "wrn-40-2", "wrn-28-10-batch", "wrn-22-2-layer-drop0.3")
    EVALUATIONS = (
        ("accuracy", {}, ""),
        ("calibration", {"bins": (10, 20)}, ".ece"),
        ("pgd", {"steps": (10, 20, 40), "step": ("eps/30", "eps/4"), "items": (100, 500), "noise": (0, 10)}, "@8/255"),
        (
            "adaptive",
            {"steps": (60, 100, 200), "step": ("eps/10", "eps/5"), "restarts": (1, 5), "rivals": (2, 9)},
            "@8/255",
        ),
        ("eps-sweep", {"steps": (50, 90), "items": (30, 60), "restarts": (1, 2)}, "@8/255"),
        ("cw", {"steps": (50, 100, 1000), "c": (0.5, 1.0)}, ""),
        ("cw-l2", {"steps": (100, 1000), "rounds": (5, 9), "targets": ("none", "next-random")}, ".median"),
        ("transfer", {"steps": (60, 100), "step": ("eps/10", "eps/5"), "loss": ("ce", "margin")}, "@8/255"),
        ("attack", {"items": (100, 1_000), "targets": ("none",)}, "@8/255"),
        ("fid", {"splits": (5, 10), "source": ("buffer", "fresh")}, ""),
        ("generation", {"items": (1_000, 5_000)}, ""),
        ("energies", {"iterations": ([0, 1], [0, 1, 5])}, ".real@0"),
    )

    NEEDED: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("pgd", "adaptive", "eps-sweep"), 'eps = ["4/255", "8/255"]'),
        "transfer": 'source = "m0"\neps = ["8/255"]',
        "attack": 'attack = "torchattacks.APGD"\neps = ["8/255"]',
    }

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw
        self.own = ""

    def pick(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(list(options)))

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    def line(self, key: str, options: Sequence[Any]) -> str:
        return f"{key} = {json.dumps(self.pick(options))}\n" if self.chance() else ""

    def model(self, index: int) -> str:
        family = self.pick(
            ("softmax", "jem", "gmmc-dis", "gmmc-gen", "gmmc-joint", "mmc", "igebm-conditional", "module")
        )
        text = f'[[model]]\nname = "m{index}"\nlabel = "model {index}"\nfamily = "{family}"\n'
        if family == "module":
            return text + 'callable = "bench.weights.module_family:no_backbone"\n'
        text += f"backbone = {json.dumps(self.pick(self.BACKBONES))}\n"
        epochs = self.pick((2, 10, 60, 150))
        text += f"epochs = {epochs}\n" + self.line("batch_size", (32, 64, 1_000 if self.own == "digits" else 2_048))
        text += self.line("lr", (1e-4, 1e-3)) + self.line("warmup", (0, 1_000)) + self.line("seeds", ([1, 2, 3], [4]))
        text += self.line("decay_epochs", ([], [30, 50], [1, 2, 3]))
        text += f"start_generative = {epochs // 2}\n" if family == "gmmc-joint" else ""
        if family in ("jem", "gmmc-gen", "gmmc-joint", "igebm-conditional"):
            text += "[model.sampler]\n" + self.line("steps", (10, 20, 50, 100)) + self.line("buffer", (100, 10_000))
            text += self.line("clamp", (True, False))
        return text

    def evaluation(self, index: int) -> tuple[str, str]:
        kind, options, column = self.pick(self.EVALUATIONS)
        text = f'[[evaluation]]\nkind = "{kind}"\nid = "e{index}"\n'
        text += "" if kind not in self.NEEDED else f"{self.NEEDED[kind]}\n"
        return text + "".join(self.line(key, values) for key, values in options.items()), f"e{index}{column}"

    def suite(self) -> str:
        own = self.own = self.pick(("cifar10", "cifar100", "svhn", "fashion-mnist", "digits"))
        sets = self.draw(st.lists(st.sampled_from(self.OUTSIDE), min_size=1, max_size=5, unique=True))
        sets = [name for name in sets if name != own] or ["interpolations"]
        evaluations = [self.evaluation(index) for index in range(self.draw(st.integers(1, 4)))]
        columns = [*(column for _, column in evaluations), *(f"ood@{name}" for name in sets)]
        return (
            f'[suite]\nname = "drawn"\n[data]\ndataset = "{own}"\n{self.line("validation", (100, 400))}'
            + "".join(self.model(index) for index in range(self.draw(st.integers(1, 4))))
            + f'[[evaluation]]\nkind = "ood"\nsets = {json.dumps(sets)}\n'
            + "".join(text for text, _ in evaluations)
            + f'[[table]]\nid = "t"\ncolumns = {json.dumps(columns)}\n'
        )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_shipped_profile_shrinks_any_suite(project: Project, data: st.DataObject) -> None:
    path = str(project.suite(Suites(data.draw).suite(), "drawn"))
    plain = project.bench.suite(path)
    for profile in SHIPPED_PROFILES:
        shrunk = project.bench.suite(path, profile)
        before, after = structure(plain), structure(shrunk)
        assert after[:2] == before[:2]
        assert [(t[0], t[1]) for t in after[2]] == [(t[0], t[1]) for t in before[2]]
        assert shrunk.dataset.name == "digits"
        assert len({model.label for model in shrunk.models}) == len(shrunk.models)
        sets = [one.config.model_dump()["sets"] for one in shrunk.evaluations if one.evaluation.name == "ood"]
        assert all(len(set(names)) == len(names) and "digits" not in names for names in sets)
        assert project.bench.plan(path, profile=profile).jobs


def test_a_batch_that_the_profiles_validation_items_make_too_large(project: Project) -> None:
    text = '[suite]\nname = "s"\n[data]\ndataset = "digits"\nvalidation = 100\n[[model]]\nfamily = "softmax"\n'
    text += 'backbone = "wrn-10-1"\nbatch_size = 1_300\n[[evaluation]]\nkind = "accuracy"\n'
    assert project.bench.suite(str(project.suite(text)), "quick").models[0].config.batch_size == 1_200


def test_what_goes_together_is_kept_where_several_values_are_at_odds(project: Project) -> None:
    """A model of two epochs takes none of the profile's schedule, and its batch is bounded all the same."""
    suite = (
        '[suite]\nname = "drawn"\n[data]\ndataset = "cifar10"\n'
        '[[model]]\nname = "long"\nfamily = "gmmc-joint"\nbackbone = "wrn-28-10"\nepochs = 60\n'
        '[[model]]\nlabel = "short"\nname = "short"\nfamily = "gmmc-joint"\nbackbone = "wrn-28-10"\nepochs = 2\n'
        'start_generative = 1\nbatch_size = 2048\n[[evaluation]]\nkind = "accuracy"\n'
    )
    for profile in SHIPPED_PROFILES:
        _, short = project.bench.suite(str(project.suite(suite, "drawn")), profile).models
        assert short.config.batch_size <= 1200
        assert short.config.lr == 2e-3
