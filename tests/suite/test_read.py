"""What is read from suites, and that all mistakes are reported together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import PrerequisiteError
from bench.evaluate.base import EVALUATIONS
from tests.conftest import planned
from tests.suite.conftest import BASE, load, messages

if TYPE_CHECKING:
    from tests.conftest import Project, Site


def test_what_is_not_said_is_the_default(project: Project) -> None:
    suite = load(project, BASE)
    (model,) = suite.models
    assert (suite.title, suite.paper, suite.profile, suite.substitutions) == ("s", "", None, ())
    assert (model.name, model.label, model.seeds) == ("softmax", "softmax", (1,))
    assert model.config == model.family.config()
    assert [evaluation.id for evaluation in suite.evaluations] == ["accuracy"]
    assert (suite.num_classes, suite.image_shape) == (10, (1, 8, 8))


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
        ("[suite]\nname", "[siute]\nname", []),
        ('[suite]\nname = "s"\n', "", [(None, "suite", "the suite has no [suite] section", "")]),
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


def test_a_misspelt_section_is_not_missing_too_nor_are_its_names_unknown(project: Project) -> None:
    table = '[[table]]\nid = "t"\ncolumns = ["accuracy"]\nmodels = ["softmax"]\n'
    for name in ("model", "evaluation"):
        found = messages(project, BASE.replace(f"[[{name}]]", f"[[{name}s]]") + table)
        assert [(key, message, hint) for _, key, message, hint in found] == [
            (f"{name}s", "unknown section", f"did you mean {name!r}?")
        ]


def test_a_data_set_that_is_not_there_is_no_mistake_and_hides_none(project: Project) -> None:
    text = BASE.replace('"digits"', '"mine.npz"')
    with pytest.raises(PrerequisiteError, match=r"tiny.toml:4:1: data.dataset: data set 'mine' is missing: there is"):
        load(project, text)
    found = messages(project, text.replace("[[evaluation]]", "lrr = 1\n[[evaluation]]"))
    assert [(line, key) for line, key, _, _ in found] == [(4, "data.dataset"), (8, "model[0].lrr")]


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


def test_other_models_that_an_evaluation_names_are_known(project: Project) -> None:
    """By name; each unknown one is told where it stands, with the nearest, whatever else is wrong."""
    text = BASE + (
        '[[evaluation]]\nkind = "transfer"\nsource = "softmx"\neps = ["8/255"]\nitmes = 3\n'
        '[[evaluation]]\nkind = "adaptive"\ntransfer = [\n  "softmax",\n  "jem",\n]\neps = ["8/255"]\n'
    )
    assert messages(project, text) == [
        (12, "evaluation[1].source", "no model of the suite is called 'softmx'", "did you mean 'softmax'?"),
        (14, "evaluation[1].itmes", "unknown key", "did you mean 'items'?"),
        (19, "evaluation[2].transfer[1]", "no model of the suite is called 'jem'", "valid: softmax"),
    ]


def test_other_models_with_mistakes_are_not_reported_twice(project: Project) -> None:
    evaluation = '[[evaluation]]\nkind = "transfer"\nsource = "softmax"\neps = ["8/255"]\n'
    text = BASE.replace('family = "softmax"', 'family = "softmx"') + evaluation
    assert [key for _, key, _, _ in messages(project, text)] == ["model[0].family"]
    text = BASE.replace('backbone = "wrn-10-1"', 'backbone = "wrn-10x1"') + evaluation
    assert [key for _, key, _, _ in messages(project, text)] == ["model[0].backbone"]


def test_other_models_of_the_wrong_type_are_told_once(project: Project) -> None:
    evaluation = '[[evaluation]]\nkind = "{}"\n{} = {}\neps = ["8/255"]\n'
    for kind, key, value in (("transfer", "source", '["softmax"]'), ("adaptive", "transfer", '"softmax"')):
        found = messages(project, BASE + evaluation.format(kind, key, value))
        assert [(line, where) for line, where, _, _ in found] == [(12, f"evaluation[1].{key}")]


def test_a_source_must_be_named(project: Project) -> None:
    found = messages(project, BASE + '[[evaluation]]\nkind = "transfer"\neps = ["8/255"]\n')
    assert [(key, message) for _, key, message, _ in found] == [("evaluation[1].source", "required key is missing")]


def test_what_follows_from_a_mistake_is_not_reported_too(project: Project) -> None:
    text = BASE.replace('"softmax"', '"softmx"') + '[[table]]\nid = "t"\ncolumns = ["accuracy"]\nmodels = ["softmax"]\n'
    assert messages(project, text) == [(6, "model[0].family", "unknown family 'softmx'", "did you mean 'softmax'?")]


MESSY = """\
[suite]
name = "Messy Name"
titel = "t"
[data]
dataset = "digits"
seeed = 1
[[model]]
family = "softmax"
backbone = "wrn-10-1"
seeds = [1, 1]
warmpu = 10
[[model]]
family = "gmmc-gen"
backbone = "wrn-10x1"
label = "Gen"
preset = "papr"
[model.sampler]
stps = 20
[[model]]
family = "gmmc-dsi"
backbone = "wrn-10-1"
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "pgd"
id = "pgd-40"
eps = ["8"]
itmes = 3
[[evaluation]]
kind = "ood"
sets = ["patchs", "digits"]
[[evaluation]]
kind = "calibratoin"
[[table]]
id = "t"
tytle = "T"
columns = ["acuracy", "pgd-40@8/255", "ood@patches", "calibration.ece", "accuracy.acc"]
models = ["softmax", "Gen", "gmmc-gen", "gmmc-dis", "GMMC (Dis)", "sofmax"]
literature = ["gmmc-2020"]
"""


def test_everything_is_reported_at_once_and_nothing_that_only_follows(project: Project) -> None:
    """Columns and rows of entries with mistakes are not called unknown; all others are checked all the same."""
    assert [(line, key, hint) for line, key, _, hint in messages(project, MESSY)] == [
        (2, "suite.name", ""),
        (3, "suite.titel", "did you mean 'title'?"),
        (6, "data.seeed", "did you mean 'seed'?"),
        (10, "model[0].seeds", ""),
        (11, "model[0].warmpu", "did you mean 'warmup'?"),
        (14, "model[1].backbone", "did you mean 'wrn-10-1'?"),
        (16, "model[1].preset", "did you mean 'paper'?"),
        (18, "model[1].sampler.stps", "did you mean 'steps'?"),
        (20, "model[2].family", "did you mean 'gmmc-dis'?"),
        (27, "evaluation[1].eps", ""),
        (28, "evaluation[1].itmes", "did you mean 'items'?"),
        (31, "evaluation[2].sets[0]", "did you mean 'patches'?"),
        (31, "evaluation[2].sets[1]", ""),
        (33, "evaluation[3].kind", "did you mean 'calibration'?"),
        (36, "table[0].tytle", "did you mean 'title'?"),
        (37, "table[0].columns[0]", "did you mean 'accuracy'?"),
        (37, "table[0].columns[4]", "did you mean 'accuracy.accuracy'?"),
        (38, "table[0].models[5]", "did you mean 'softmax'?"),
        (39, "table[0].literature[0]", "did you mean 'gmmc-2021'?"),
    ]


@pytest.mark.parametrize(
    ("wrong", "right", "columns", "unknown"),
    [
        # An evaluation whose kind is no near miss may be called anything: nothing can be said of the columns.
        ('kind = "zzz"', 'kind = "accuracy"', ["accuracy", "acuracy"], []),
        ('kind = "zzz"\nid = "mine"', 'kind = "accuracy"\nid = "mine"', ["mine", "accuracy"], ["accuracy"]),
        ('kind = "accuracy"\nid = "My Own"', 'kind = "accuracy"\nid = "my-own"', ["my-own", "your-own"], ["your-own"]),
        ('kind = "accuracy"\nid = 3', 'kind = "accuracy"\nid = "x"', ["x"], []),
    ],
)
def test_columns_of_an_evaluation_that_has_mistakes(
    project: Project, wrong: str, right: str, columns: list[str], unknown: list[str]
) -> None:
    table = f'[[table]]\nid = "t"\ncolumns = {columns}\n'
    found = messages(project, BASE.replace('kind = "accuracy"', wrong) + table)
    assert [message for _, key, message, _ in found if key.startswith("table")] == [
        f"unknown column {name!r}" for name in unknown
    ]
    # Mending the evaluation leaves those that were reported, and those that could not be known.
    left = [name for name in columns if name not in ("accuracy", "mine", "my-own", "x") or name in unknown]
    if left:
        assert [key for _, key, _, _ in messages(project, BASE.replace('kind = "accuracy"', right) + table)] == [
            f"table[0].columns[{columns.index(name)}]" for name in left
        ]


def test_an_evaluation_that_is_not_registered_is_called_by_its_own_name(project: Project, site: Site) -> None:
    """And a worker finds it by what the suite says: its name alone would mean nothing there."""
    site.module(
        "mine.evals",
        """
        from bench.evaluate.base import Column, Evaluation, EvaluationConfig, Outcome
        class Mine(Evaluation):
            name, summary, source, Config = "my-own", "s", "s", EvaluationConfig
            def columns(self, config):
                return (Column(metric="m", label="m", unit="1", direction=None, definition="d", primary=True),)
            def evaluate(self, config, inputs):
                return Outcome([])
        MINE = Mine()
        """,
    )
    text = BASE + '[[evaluation]]\nkind = "mine.evals:MINE"\n[[table]]\nid = "t"\ncolumns = ["my-own", "my-own.m"]\n'
    assert [evaluation.id for evaluation in load(project, text).evaluations] == ["accuracy", "my-own"]
    job = planned(project.plan(text), "softmax/digits/seed1/my-own")
    assert EVALUATIONS.get(job.task.evaluation).name == "my-own"
    assert [key for _, key, _, _ in messages(project, text.replace("MINE", "MINE2"))] == ["evaluation[1].kind"]
    assert [key for _, key, _, _ in messages(project, text.replace('MINE"', 'MINE"\nsede = 1'))] == [
        "evaluation[1].sede"
    ]
