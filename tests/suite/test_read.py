from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import SuiteError
from bench.suite.schema import Suite

if TYPE_CHECKING:
    from tests.conftest import Project

BASE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
family = "softmax"
backbone = "wrn-10-1"
[[evaluation]]
kind = "accuracy"
"""


def load(project: Project, text: str, profile: str | None = None) -> Suite:
    path = project.suite(text)
    return project.bench.suite(str(path), str(project.profile(profile)) if profile else None)


def messages(project: Project, text: str) -> list[tuple[int | None, str, str, str]]:
    """Line, key, message and hint of everything that is wrong with a suite."""
    with pytest.raises(SuiteError) as error:
        load(project, text)
    return [(problem.line, problem.key, problem.message, problem.hint) for problem in error.value.problems]


def test_what_is_not_said_is_the_default(project: Project) -> None:
    suite = load(project, BASE)
    (model,) = suite.models
    assert (suite.title, suite.paper, suite.profile, suite.substitutions) == ("s", "", None, ())
    assert (model.name, model.label, model.seeds) == ("softmax", "softmax", (1,))
    assert model.config == model.family.config()
    assert [evaluation.id for evaluation in suite.evaluations] == ["accuracy"]
    assert (suite.num_classes, suite.image_shape) == (10, (1, 8, 8))


def test_names_labels_seeds_and_hyper_parameters(project: Project) -> None:
    text = BASE.replace(
        'backbone = "wrn-10-1"\n',
        'backbone = "wrn-16-2"\nname = "base"\nlabel = "Baseline"\nseeds = [3, 1]\nlr = 1\ndecay_epochs = [2]\n',
    )
    (model,) = load(project, text).models
    assert (model.name, model.label, model.seeds, model.backbone_name) == ("base", "Baseline", (3, 1), "wrn-16-2")
    assert (model.config.lr, model.config.decay_epochs) == (1.0, (2,))


def test_a_preset_lies_between_defaults_and_the_suite(project: Project) -> None:
    text = BASE.replace('"softmax"', '"jem"').replace(
        'backbone = "wrn-10-1"\n', 'backbone = "wrn-10-1"\npreset = "jem-code"\n[model.sampler]\nsteps = 7\n'
    )
    (model,) = load(project, text).models
    values = model.config.model_dump()
    assert values["epochs"] == 200  # the preset
    assert values["sampler"]["steps"] == 7  # the suite
    assert values["sampler"]["reinit"] == 0.05  # the preset, beside a value that the suite sets
    assert values["batch_size"] == model.family.config().batch_size  # the default


def test_tables_take_names_or_labels_and_all_models_by_default(project: Project) -> None:
    text = BASE.replace("[[evaluation]]", '[[model]]\nfamily = "gmmc-gen"\nbackbone = "wrn-10-1"\n[[evaluation]]')
    text += '[[table]]\nid = "all"\ncolumns = ["accuracy"]\n'
    text += '[[table]]\nid = "some"\ntitle = "T"\ncolumns = ["accuracy"]\nmodels = ["GMMC (Gen)", "softmax"]\n'
    every, some = load(project, text).tables
    assert (every.title, every.rows) == ("all", ("softmax", "gmmc-gen"))
    assert (some.title, some.rows) == ("T", ("gmmc-gen", "softmax"))
    assert [column.id for column in some.columns] == ["accuracy"]


def test_literature_of_the_project_and_of_the_package(project: Project) -> None:
    project.write(
        "results/literature/mine.toml",
        '[source]\nname = "mine"\ntitle = "M"\nurl = "u"\n[[row]]\nlabel = "l"\ndataset = "digits"\ntable = "1"\n'
        "[row.values]\naccuracy = 0.5\n",
    )
    text = BASE + '[[table]]\nid = "t"\ncolumns = ["accuracy"]\nliterature = ["mine", "gmmc-2021"]\n'
    assert load(project, text).tables[0].literature == ("mine", "gmmc-2021")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[suite]\nname", "[siute]\nname", [(None, "suite", "the suite has no [suite] section", "")]),
        ("[[model]]", "[model]", [(5, "model", "expected an array of tables, written [[model]]", "")]),
        (
            '[[evaluation]]\nkind = "accuracy"\n',
            "",
            [(None, "evaluation", "the suite has no [[evaluation]]", "")],
        ),
        (
            'dataset = "digits"',
            'dataset = "uniform"',
            [(4, "data.dataset", "'uniform' has no labels: it can only be an OOD set", "")],
        ),
        (
            'backbone = "wrn-10-1"',
            'backbone = "wrn-10-1"\nseeds = [1, 1]',
            [(8, "model[0].seeds", "a seed is listed twice", "")],
        ),
    ],
)
def test_structural_mistakes(
    project: Project, old: str, new: str, expected: list[tuple[int | None, str, str, str]]
) -> None:
    found = messages(project, BASE.replace(old, new))
    assert [item for item in found if item[1] != "siute"] == expected
    if "siute" in new:
        assert (1, "siute", "unknown section", "did you mean 'suite'?") in found


def test_used_twice(project: Project) -> None:
    model = '[[model]]\nfamily = "softmax"\nbackbone = "wrn-10-1"\n'
    evaluation = '[[evaluation]]\nkind = "accuracy"\n'
    table = '[[table]]\nid = "t"\ncolumns = ["accuracy"]\n'
    hint = "give one of them another"
    found = messages(project, BASE + model + evaluation + table + table)
    assert found == [
        (10, "model[1].name", "model name 'softmax' is used twice", hint),
        (10, "model[1].label", "model label 'softmax' is used twice", hint),
        (13, "evaluation[1].id", "evaluation id 'accuracy' is used twice", hint),
        (19, "table[1].id", "table id 't' is used twice", hint),
    ]


def test_an_in_distribution_set_is_no_out_of_distribution_set(project: Project) -> None:
    text = BASE + '[[evaluation]]\nkind = "ood"\nsets = [\n  "patches",\n  "digits",\n]\n'
    ((line, key, message, _),) = messages(project, text)
    assert (line, key) == (14, "evaluation[1].sets[1]")
    assert "'digits' is the in-distribution data set" in message


def test_what_follows_from_a_mistake_is_not_reported_too(project: Project) -> None:
    text = BASE.replace('"softmax"', '"softmx"') + '[[table]]\nid = "t"\ncolumns = ["accuracy"]\nmodels = ["softmax"]\n'
    assert messages(project, text) == [(6, "model[0].family", "unknown family 'softmx'", "did you mean 'softmax'?")]


def test_rows_are_unambiguous(project: Project) -> None:
    """A label that is another model's name would make ``models = [...]`` pick either."""
    text = BASE.replace(
        "[[evaluation]]",
        '[[model]]\nfamily = "gmmc-gen"\nbackbone = "wrn-10-1"\nlabel = "softmax"\nname = "other"\n[[evaluation]]',
    )
    found = messages(project, text)
    assert [(line, key) for line, key, _, _ in found] == [(11, "model[1].label")]
