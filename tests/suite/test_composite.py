"""Suites with several data sets, and suites that include others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.errors import RequestError, SuiteError

if TYPE_CHECKING:
    from tests.conftest import Project

MODEL = """\
[[model]]
family = "softmax"
backbone = "wrn-10-1"
epochs = 3
decay_epochs = []
"""
TWO = f"""\
[suite]
name = "two"
[data]
dataset = ["digits", "fashion-mnist"]
{MODEL}
[model.on.fashion-mnist]
epochs = 5
[[evaluation]]
kind = "accuracy"
[[evaluation]]
kind = "ood"
sets = ["uniform"]
[[table]]
id = "both"
columns = ["digits/accuracy", "fashion-mnist/accuracy", "fashion-mnist/ood.log-density.auroc@uniform"]
"""


def one(name: str, epochs: int, column: str = "accuracy") -> str:
    return f"""\
[suite]
name = "{name}"
[data]
dataset = "digits"
{MODEL.replace("epochs = 3", f"epochs = {epochs}")}
[[evaluation]]
kind = "accuracy"
[[table]]
id = "t"
columns = ["{column}"]
"""


def test_each_data_set_trains_models_of_its_own(project: Project) -> None:
    plan = project.plan(TWO)
    epochs = {job.id: job.task.train.model.config["epochs"] for job in plan.jobs if job.kind == "train"}
    assert epochs == {"softmax/digits/seed1/train": 3, "softmax/fashion-mnist/seed1/train": 5}
    assert [leaf.suite.on for leaf in plan.leaves] == ["digits", "fashion-mnist"]
    assert [column.dataset for column in plan.suite.tables[0].columns] == ["digits", "fashion-mnist", "fashion-mnist"]


def test_a_data_set_alone_has_the_same_jobs(project: Project) -> None:
    """Results are shared with a suite of one data set: the key says nothing about the list."""
    several = {job.id: job.key for job in project.plan(TWO).jobs}
    alone = project.plan(one("alone", 3))
    assert {job.id: several[job.id] for job in alone.jobs} == {job.id: job.key for job in alone.jobs}


def test_models_under_a_profile_that_gives_both_one_data_set(project: Project) -> None:
    """Different jobs get different ids, equal ones are one job."""
    profile = '[profile]\nname = "small"\n[substitute.data]\nfashion-mnist = "digits"\n'
    plan = project.plan(TWO, profile)
    ids = [job.id for job in plan.jobs if job.kind == "train"]
    assert ids == ["softmax/digits/seed1/train", "fashion-mnist:softmax/digits/seed1/train"]
    assert len({job.id for job in plan.jobs}) == len(plan.jobs)
    assert plan.suite.tables[0].columns[1].column.group == "digits for fashion-mnist"
    equal = project.plan(TWO.replace("epochs = 5", "epochs = 3"), profile)
    assert [job.id for job in equal.jobs if job.kind == "train"] == ["softmax/digits/seed1/train"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("model.on.fashion-mnist", "model.on.fashion-mist", r"no data set of the suite; did you mean 'fashion-mnist'"),
        (
            '["digits", "fashion-mnist"]',
            '["digits", "digits"]',
            r"toml:4:\d+: data.dataset\[1\]: 'digits' is listed twice",
        ),
        ('["digits", "fashion-mnist"]', "[]", "expected at least one data set"),
        ('["digits", "fashion-mnist"]', '["digits", 3]', "expected a text in quotes"),
        ('"digits/accuracy"', '"digit/accuracy"', r"unknown column 'digit/accuracy'; did you mean 'digits/accuracy'"),
        ('"digits/accuracy"', '"accuracy"', r"unknown column 'accuracy'"),
        (
            '"digits/accuracy"',
            '"digits/accuracy", "digits/accuracy"',
            r"columns\[1\]: column 'digits/accuracy' is listed twice",
        ),
        ('columns = ["digits', 'settings = ["lr"]\ncolumns = ["digits', "settings differ by data set"),
        ("epochs = 5", "epoch = 5", r"toml:12:1: model\[0\].on.fashion-mnist.epoch: unknown key"),
        ("epochs = 5", 'epochs = "5"', r"toml:12:1: model\[0\].on.fashion-mnist.epochs: .*without quotes"),
    ],
)
def test_mistakes_are_located(project: Project, before: str, after: str, message: str) -> None:
    assert before in TWO
    with pytest.raises(SuiteError, match=message):
        project.plan(TWO.replace(before, after, 1))


def test_a_mistake_in_all_data_sets_is_told_once(project: Project) -> None:
    with pytest.raises(SuiteError) as caught:
        project.plan(TWO.replace("epochs = 3", "epochs = 0"))
    assert str(caught.value).count("epochs") == 1


def test_values_on_a_data_set_need_a_list_of_data_sets(project: Project) -> None:
    with pytest.raises(SuiteError, match="the suite has one data set: write it in the entry"):
        project.plan(TWO.replace('["digits", "fashion-mnist"]', '"digits"').replace("digits/", ""))


def including(*names: str) -> str:
    return f'[suite]\nname = "all"\ntitle = "All"\ninclude = [{", ".join(repr(name) for name in names)}]\n'


def test_included_suites_share_equal_jobs(project: Project) -> None:
    for name, epochs in (("a", 3), ("b", 3), ("c", 4)):
        project.suite(one(name, epochs), name)
    plan = project.bench.plan(project.suite(including("a", "b", "c"), "all"))
    trained = [job.id for job in plan.jobs if job.kind == "train"]
    assert trained == ["softmax/digits/seed1/train", "c:softmax/digits/seed1/train"]
    report = project.bench.report(plan)
    assert [table.id for table in report.tables] == ["t", "b-t", "c-t"]
    assert [table.id for table in plan.suite.all_tables] == ["t", "b-t", "c-t"]
    selected = plan.select(["c:*/accuracy"])
    assert [job.id for job in selected.jobs] == [
        "c:softmax/digits/seed1/train",
        "c:softmax/digits/seed1/predict/test",
        "c:softmax/digits/seed1/accuracy",
    ]


def test_mistakes_of_included_suites_name_their_file(project: Project) -> None:
    project.suite(one("a", 3, "acuracy"), "a")
    with pytest.raises(SuiteError, match=r"a\.toml:15:\d+: table\[0\].columns\[0\]: unknown column 'acuracy'"):
        project.bench.plan(project.suite(including("a"), "all"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (including("nowhere"), "nowhere"),
        (including("all"), "includes this suite"),
        (including(), "at least one suite"),
        (including("a", "a"), "two suites are named 'a'"),
        (including("a") + "[data]\ndataset = 'digits'\n", "a suite that includes others has no other section"),
        (including("a") + "titel = 1\n", "unknown key; did you mean 'title'"),
    ],
)
def test_wrong_includes(project: Project, text: str, message: str) -> None:
    project.suite(one("a", 3), "a")
    with pytest.raises((SuiteError, RequestError), match=message):
        project.bench.plan(project.suite(text, "all"))


def test_a_gate_and_a_comparison_of_runs_need_one_data_set(project: Project) -> None:
    path = project.suite(TWO, "two")
    with pytest.raises(RequestError, match=r"two has parts \(digits, fashion-mnist\)"):
        project.bench.gate(path, rules=["accuracy >= 0"], against=project.root)
    with pytest.raises(RequestError, match=r"two has parts"):
        project.bench.compare(path, against=project.root)


def test_models_are_compared_on_each_data_set(project: Project) -> None:
    another = MODEL.replace("softmax", "gmmc-dis")
    report = project.bench.compare(project.suite(TWO.replace("[[evaluation]]", f"{another}[[evaluation]]", 1), "two"))
    assert [table.id for table in report.tables] == ["both-digits-weights", "both-fashion-mnist-weights"]
    assert [[column.id for column in table.columns] for table in report.tables] == [
        ["digits/accuracy"],
        ["fashion-mnist/accuracy", "fashion-mnist/ood.log-density.auroc@uniform"],
    ]
    assert report.comparison


def test_what_cannot_be_compared_is_a_remark(project: Project) -> None:
    two = MODEL + MODEL.replace("softmax", "gmmc-dis")
    project.suite(one("a", 3), "a")
    project.suite(one("b", 3).replace(MODEL, two), "b")
    report = project.bench.compare(project.suite(including("a", "b"), "all"))
    assert [table.id for table in report.tables] == ["b-t-weights"]
    assert report.remarks[0].startswith("a is not compared: suite a has no model to compare")
    with pytest.raises(RequestError, match="nobody"):
        project.bench.compare(project.root / "suites/all.toml", baseline="nobody")


FIGURE = '[[figure]]\nid = "f"\nkind = "learning"\n'


def test_tables_and_figures_of_all_parts_have_names_of_their_own(project: Project) -> None:
    project.suite(one("a", 3) + FIGURE, "a")
    project.suite(one("b", 3) + FIGURE.replace('"f"', '"f2"'), "b")
    project.suite(one("c", 3).replace('id = "t"', 'id = "f"') + FIGURE.replace('"f"', '"t"'), "c")
    suite = project.bench.plan(project.suite(including("a", "b", "c"), "all")).suite
    assert [table.id for table in suite.all_tables] == ["t", "b-t", "c-f"]
    assert [figure.id for leaf in suite.leaves for figure in leaf.figures] == ["f", "f2", "c-t"]


def test_figures_stand_for_each_data_set(project: Project) -> None:
    suite = project.plan(TWO + FIGURE).suite
    assert [figure.id for leaf in suite.leaves for figure in leaf.figures] == ["f-digits", "f-fashion-mnist"]
    with pytest.raises(SuiteError, match=r"figure\[0\].id: required key is missing"):
        project.plan(TWO + FIGURE.replace('id = "f"\n', ""))


def test_a_run_of_some_jobs_keeps_the_tables_of_all(project: Project) -> None:
    project.suite(one("a", 3), "a")
    project.suite(one("b", 4), "b")
    plan = project.bench.plan(project.suite(including("a", "b"), "all"), only=["b:*"])
    whole = project.bench.whole(plan)
    assert [table.id for table in project.bench.report(whole).tables] == ["t", "b-t"]
