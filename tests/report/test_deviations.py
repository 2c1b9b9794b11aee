from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report.deviations import deviations

if TYPE_CHECKING:
    from tests.conftest import Project

HEAD = '[suite]\nname = "s"\n[data]\ndataset = "cifar10"\n'
TAIL = '[[evaluation]]\nkind = "accuracy"\n'
PAPER = 'backbone = "wrn-28-10"\nepochs = 150\ndecay_epochs = [30, 50, 80]\n'


def lines(project: Project, *models: str, profile: str | None = None) -> tuple[str, ...]:
    path = project.suite(HEAD + "".join(f"[[model]]\n{model}\n" for model in models) + TAIL)
    overlay = str(project.profile(profile)) if profile else None
    return deviations(project.bench.suite(path, overlay))


def test_the_papers_values_are_no_deviation(project: Project) -> None:
    gmmc = 'family = "gmmc-gen"\n' + PAPER
    assert lines(project, 'family = "softmax"\n' + PAPER, gmmc) == ()


def test_one_value_for_all(project: Project) -> None:
    one = 'family = "softmax"\n' + PAPER.replace("wrn-28-10", "wrn-10-1")
    two = 'family = "gmmc-dis"\n' + PAPER.replace("wrn-28-10", "wrn-10-1")
    assert lines(project, one, two) == ("network: wrn-10-1 [paper: wrn-28-10]",)


def test_models_that_agree_stand_together(project: Project) -> None:
    changed = "lr = 2e-3\n"
    models = [
        'family = "softmax"\n' + PAPER + changed,
        'family = "jem"\n' + PAPER + "lr = 3e-3\n",
        'family = "gmmc-dis"\n' + PAPER + changed,
    ]
    assert lines(project, *models) == ("lr: 0.002 (softmax, GMMC (Dis)); 0.003 (JEM) [paper: 0.0001]",)


def test_a_setting_is_compared_only_where_the_paper_states_it(project: Project) -> None:
    softmax = 'family = "softmax"\n' + PAPER
    gmmc = 'family = "gmmc-gen"\n' + PAPER + "[model.sampler]\nbuffer = 50_000\n"
    assert lines(project, softmax, gmmc) == ("replay buffer: 50,000 [paper: 100,000]",)


def test_families_whose_papers_differ(project: Project) -> None:
    jem = 'family = "jem"\n' + PAPER + "[model.sampler]\nbuffer = 1_000\n"
    gmmc = 'family = "gmmc-gen"\n' + PAPER + "[model.sampler]\nbuffer = 1_000\n"
    assert lines(project, jem, gmmc) == ("replay buffer: 1,000 [paper: 10,000 or 100,000]",)


def test_lists_of_epochs(project: Project) -> None:
    softmax = 'family = "softmax"\n' + PAPER.replace("[30, 50, 80]", "[8, 10]")
    assert lines(project, softmax) == ("decay epochs: 8, 10 [paper: 30, 50, 80]",)


def test_what_a_profile_changes_is_a_deviation(project: Project) -> None:
    profile = '[profile]\nname = "p"\n[model]\nepochs = 3\n'
    assert lines(project, 'family = "softmax"\n' + PAPER, profile=profile) == ("epochs: 3 [paper: 150]",)


def test_arithmetic_that_is_not_the_default_is_told_although_no_paper_states_it(project: Project) -> None:
    models = [
        'family = "softmax"\n' + PAPER + 'precision = "bf16"\ncompile = true\n',
        'family = "jem"\n' + PAPER + 'precision = "tf32"\n',
        'family = "gmmc-dis"\n' + PAPER + 'precision = "bf16"\n',
        'family = "gmmc-gen"\n' + PAPER,
    ]
    assert lines(project, *models) == (
        "precision of training steps: bf16 (softmax, GMMC (Dis)) [default: float32]",
        "precision of training steps: tf32 (JEM) [default: float32]",
        "training steps compiled by torch.compile: yes (softmax) [default: no]",
    )
