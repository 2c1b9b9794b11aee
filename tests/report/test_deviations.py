from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from bench.report.deviations import deviations

if TYPE_CHECKING:
    from tests.conftest import Project, Site

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
    assert lines(project, softmax, gmmc) == ("replay buffer: 50,000 (GMMC (Gen)) [paper: 100,000]",)


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
        'family = "softmax"\n' + PAPER + 'precision = "bf16"\ncudnn = "benchmark"\n',
        'family = "jem"\n' + PAPER + 'precision = "tf32"\n',
        'family = "gmmc-dis"\n' + PAPER + 'precision = "bf16"\n',
        'family = "gmmc-gen"\n' + PAPER,
    ]
    assert lines(project, *models) == (
        "precision of training steps: bf16 (softmax, GMMC (Dis)) [default: float32]",
        "precision of training steps: tf32 (JEM) [default: float32]",
        "cuDNN kernels of training steps: benchmark (softmax) [default: deterministic]",
    )


# --- by data set ------------------------------------------------------------------------------------------------


def suite_lines(project: Project, dataset: str, *models: str, more: str = TAIL, data: str = "") -> tuple[str, ...]:
    head = f'[suite]\nname = "s"\n[data]\ndataset = "{dataset}"\n{data}'
    path = project.suite(head + "".join(f"[[model]]\n{model}\n" for model in models) + more)
    return deviations(project.bench.suite(path))


@pytest.mark.parametrize(
    ("dataset", "schedule"), [("cifar10", (30, 50, 80)), ("svhn", (30, 50, 80)), ("cifar100", (120, 140))]
)
def test_the_schedule_is_that_of_the_data_set(project: Project, dataset: str, schedule: tuple[int, ...]) -> None:
    """Appendix A: epochs 30, 50, 80 for CIFAR10 and SVHN, 120 and 140 for CIFAR100."""
    model = 'family = "gmmc-gen"\nbackbone = "wrn-28-10"\nepochs = 150\n'
    assert suite_lines(project, dataset, f"{model}decay_epochs = {list(schedule)}") == ()
    (line,) = suite_lines(project, dataset, f"{model}decay_epochs = [7]")
    assert line == f"decay epochs: 7 [paper: {', '.join(map(str, schedule))}]"


def test_the_items_of_a_data_set_of_the_paper(project: Project) -> None:
    model = 'family = "softmax"\n' + PAPER
    (line,) = suite_lines(project, "cifar100", model.replace("30, 50, 80", "120, 140"), data="validation = 1000\n")
    assert line == (
        "data: cifar100, 49,000 / 1,000 / 10,000 training / validation / test items "
        "[paper: 45,000 / 5,000 / 10,000 training / validation / test, validation items as in its code]"
    )
    profile = '[profile]\nname = "p"\n[caps]\ntrain = 2000\nitems = 500\n'
    (line,) = lines(project, model, profile=profile)
    assert line.startswith("data: cifar10, 2,000 / 5,000 / 500 training / validation / test items [paper: 45,000 / ")
    profile = '[profile]\nname = "p"\n[caps]\ntrain = 60000\nitems = 20000\n'
    assert lines(project, model, profile=profile) == ()


def test_data_that_the_paper_does_not_have(project: Project) -> None:
    data, augmentation = suite_lines(project, "digits", 'family = "softmax"\n' + PAPER)
    assert data == (
        "data: digits, 1,200 / 200 / 397 training / validation / test items of 1x8x8 [paper: CIFAR10, CIFAR100, SVHN; "
        "what it says of CIFAR10 (45,000 / 5,000 / 10,000 training / validation / test items of 3x32x32) is quoted "
        "here]"
    )
    assert augmentation == "augmentation: none [paper: not stated; its code: crop-flip]"


def test_a_persons_own_file_is_not_the_papers_data_set(project: Project) -> None:
    """Whatever it is called."""
    images = np.zeros((100, 3, 32, 32), np.uint8)
    (project.root / "suites").mkdir()
    np.savez(project.root / "suites" / "cifar100.npz", x=images, y=np.arange(100) % 10)
    model = 'family = "softmax"\n' + PAPER
    found = suite_lines(project, "./cifar100.npz", model, data="validation = 8\n")
    assert found[0].startswith("data: cifar100, ")
    assert "[paper: CIFAR10, CIFAR100, SVHN; what it says of CIFAR10" in found[0]
    assert not [line for line in found if line.startswith("decay")]


def test_augmentation_and_warm_up(project: Project) -> None:
    model = 'family = "{}"\n' + PAPER
    one, two = model.format("softmax") + "augment = false\nwarmup = 0\n", model.format("gmmc-dis") + "sigma = 0.0\n"
    assert lines(project, one, two) == (
        "iterations of warm-up: 0 (softmax); 1,000 (GMMC (Dis)) [paper: not stated; its code: 1,000]",
        "noise on training images: 0.03 (softmax); 0 (GMMC (Dis)) [paper: not stated; its code: 0.03]",
        "augmentation: none (softmax); crop-flip (GMMC (Dis)) [paper: not stated; its code: crop-flip]",
    )


def test_where_paper_and_code_differ_neither_is_a_deviation(project: Project) -> None:
    model = 'family = "gmmc-gen"\n' + PAPER + "[model.sampler]\n"
    assert lines(project, model + 'step_size = 1.0\nlabels = "buffer"\n') == ()
    assert lines(project, model + 'step_size = 0.015625\nlabels = "batch"\n') == ()
    assert lines(project, model + "step_size = 0.5\n") == ("sampler step size: 0.5 [paper: 1]",)


# --- attacks ----------------------------------------------------------------------------------------------------

ATTACK = '[[evaluation]]\nkind = "{}"\nid = "a"\n{}\n'
FULL = 'eps = ["8/255"]\nitems = 10_000\n'


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("pgd", FULL, ()),
        ("pgd", 'eps = ["8/255"]\nitems = 200\n', ("attacked items 200 [paper: 10,000]",)),
        ("pgd", 'eps = ["8/255"]\nitems = 50_000\n', ()),
        ("pgd", FULL + "steps = 20", ("steps 20 [paper: 40]",)),
        ("pgd", FULL + 'step = "2/255"', ("step size 2/255 [paper: not stated; JEM's code: eps/30]",)),
        ("pgd", FULL + "restarts = 5", ("restarts 5 [paper: not stated; JEM's code: 20]",)),
        ("pgd", FULL + 'iterate = "any"', ("iterate any [paper: not stated; JEM's code: final]",)),
        ("cw", "", ()),
        ("cw", "steps = 50", ("steps 50 [paper: 100 untargeted]",)),
        ("cw", "items = 100", ("attacked items 100 [paper: not stated; at full size here: 1,000]",)),
        ("cw-l2", "steps = 100", ()),
        ("cw-l2", 'steps = 1000\ntargets = "next-random"', ()),
        (
            "cw-l2",
            'steps = 100\ntargets = "next-random"',
            ("steps 100 [paper: 100 untargeted, 1,000 targeted]",),
        ),
        ("calibration", "bins = 15", ("bins 15 [paper: 20]",)),
        ("ood", 'sets = ["celeba", "cifar100", "interpolations", "svhn"]', ()),
    ],
)
def test_attacks_and_metrics_of_the_paper(
    project: Project, kind: str, settings: str, expected: tuple[str, ...]
) -> None:
    found = suite_lines(project, "cifar10", 'family = "softmax"\n' + PAPER, more=ATTACK.format(kind, settings))
    assert found == tuple(f"a: {text}" for text in expected)


def test_a_profile_bounds_attacked_items(project: Project) -> None:
    profile = '[profile]\nname = "p"\n[caps]\nitems = 64\n'
    path = project.suite(HEAD + '[[model]]\nfamily = "softmax"\n' + PAPER + ATTACK.format("pgd", FULL))
    found = deviations(project.bench.suite(path, str(project.profile(profile))))
    assert "a: attacked items 64 [paper: 10,000]" in found


# --- families of others -----------------------------------------------------------------------------------------

STRANGER = """\
from dataclasses import replace
from bench.spec import FamilySpec, TrainingConfig
from bench_models.specs import GMMC_GEN

COPY = replace(GMMC_GEN, name="copy", label="copy")
OWN = FamilySpec(
    name="own", label="own", summary="x", source="x", config=TrainingConfig,
    implementation="bench_models.softmax:Softmax",
)
"""


@pytest.mark.parametrize("family", ["stranger_t:COPY", "stranger_t:OWN", "module"])
def test_the_paper_did_not_train_a_strangers_family(project: Project, site: Site, family: str) -> None:
    """Also where its spec began as a copy of ours; and then nothing else is held against the paper, either."""
    site.module("stranger_t", STRANGER)
    more = 'callable = "torch.nn:Identity"' if family == "module" else 'backbone = "wrn-10-1"\nepochs = 3'
    model = f'family = "{family}"\n{more}'
    assert suite_lines(project, "digits", model, more=ATTACK.format("pgd", 'eps = ["8/255"]')) == ()


def test_beside_ours_a_stranger_is_not_named(project: Project, site: Site) -> None:
    site.module("stranger_t", STRANGER)
    found = lines(
        project, 'family = "stranger_t:OWN"\nbackbone = "wrn-10-1"\nepochs = 3', 'family = "softmax"\n' + PAPER
    )
    assert found == ()
