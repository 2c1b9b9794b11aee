from __future__ import annotations

import re

import pytest

from bench.errors import SuiteError
from bench.suite.figures import HistogramEntry, ReliabilityEntry, TSNEEntry
from bench.suite.schema import ResolvedFigure
from tests.conftest import Project

SUITE = """\
[suite]
name = "s"
[data]
dataset = "digits"
[[model]]
family = "softmax"
label = "Softmax"
backbone = "wrn-10-1"
[[model]]
family = "gmmc-dis"
backbone = "wrn-10-1"
[[evaluation]]
kind = "calibration"
bins = 15
[[evaluation]]
kind = "ood"
sets = ["patches", "uniform"]
"""


def figure(project: Project, text: str) -> ResolvedFigure:
    (found,) = project.plan(f"{SUITE}[[figure]]\n{text}").suite.figures
    return found


def problem(project: Project, text: str) -> str:
    with pytest.raises(SuiteError) as caught:
        project.plan(f"{SUITE}[[figure]]\n{text}")
    return str(caught.value)


def test_defaults(project: Project) -> None:
    found = figure(project, 'id = "r"\nkind = "reliability"')
    assert (found.id, found.title, found.evaluation) == ("r", "r", "calibration")
    assert [model.label for model in found.models] == ["Softmax", "GMMC (Dis)"]
    assert isinstance(found.entry, ReliabilityEntry)
    assert (found.entry.bins, found.entry.readouts) == (15, ("default", "fitted"))
    assert project.plan(SUITE).suite.figures == ()


def test_options_and_rows(project: Project) -> None:
    text = 'id = "h"\nkind = "score-histograms"\ntitle = "Scores"\nmodels = ["Softmax"]\nscores = ["max-probability"]'
    found = figure(project, text)
    assert (found.title, [model.name for model in found.models]) == ("Scores", ["softmax"])
    assert isinstance(found.entry, HistogramEntry)
    assert (found.entry.scores, found.entry.sets) == (("max-probability",), ("patches", "uniform"))


def test_a_figure_may_read_no_evaluation(project: Project) -> None:
    found = figure(project, 'id = "t"\nkind = "t-sne"\nperplexity = 5')
    assert found.evaluation == ""
    assert isinstance(found.entry, TSNEEntry)
    assert found.entry.perplexity == 5


def test_profiles_put_in_their_data_sets(project: Project) -> None:
    text = SUITE.replace('"digits"', '"cifar10"').replace('["patches", "uniform"]', '["svhn"]')
    overlay = '[profile]\nname = "p"\n[substitute.data]\ncifar10 = "digits"\n[substitute.ood]\nsvhn = "patches"\n'
    plan = project.plan(f'{text}[[figure]]\nid = "roc"\nkind = "roc"\nsets = ["svhn"]', profile=overlay)
    (found,) = plan.suite.figures
    assert getattr(found.entry, "sets") == ("patches",)  # noqa: B009 - of one kind of entry alone


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('id = "r"\nkind = "reliabilty"', 3, "unknown kind of figure 'reliabilty'; did you mean 'reliability'?"),
        ('id = "r"\nkind = "reliability"\nbin = 3', 4, "bin"),
        (
            'id = "r"\nkind = "reliability"\nmodels = ["Softmaks"]',
            4,
            "unknown model 'Softmaks'; did you mean 'softmax'?",
        ),
        ('id = "r"\nkind = "reliability"\nevaluation = "ood"', 4, "'ood' is no evaluation of kind 'calibration'"),
        ('id = "r"\nkind = "roc"\nscores = ["entropy"]', 4, "evaluation 'ood' has no score 'entropy'"),
        (
            'id = "r"\nkind = "roc"\nsets = ["uniforn"]',
            4,
            "evaluation 'ood' has no set 'uniforn'; did you mean 'uniform'?",
        ),
        ('id = "r"', 1, "kind"),
        ('id = "r"\nkind = "reliability"\nreadouts = ["papr"]', 4, "no model of the suite has a read-out 'papr'"),
        ('id = "r"\nkind = "t-sne"\nmodels = []', 4, "models"),
    ],
)
def test_mistakes_have_line_and_hint(project: Project, text: str, line: int, message: str) -> None:
    found = problem(project, text)
    assert message in found
    assert f":{len(SUITE.splitlines()) + line}" in found


def test_an_id_is_used_once(project: Project) -> None:
    twice = 'id = "r"\nkind = "t-sne"\n[[figure]]\nid = "r"\nkind = "t-sne"'
    assert "figure id 'r' is used twice" in problem(project, twice)


def test_a_figure_needs_its_evaluation(project: Project) -> None:
    text = re.sub(r'\[\[evaluation\]\]\nkind = "ood".*', "", SUITE, flags=re.S)
    with pytest.raises(SuiteError, match="a figure of kind 'roc' needs an evaluation of kind 'ood'"):
        project.plan(f'{text}[[figure]]\nid = "r"\nkind = "roc"')


def test_a_figure_and_a_table_have_different_ids(project: Project) -> None:
    """Both would be written into one file."""
    text = f'{SUITE}[[table]]\nid = "r"\ncolumns = ["calibration.nll"]\n[[figure]]\nid = "r"\nkind = "t-sne"'
    with pytest.raises(SuiteError, match="a table has the id 'r', too"):
        project.plan(text)
