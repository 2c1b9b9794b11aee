from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bench import attacks
from bench.attacks.named import ATTACKS, named_attack
from bench.data.splits import Splits
from bench.evaluate.robust.attack import NamedAttack, NamedAttackConfig
from bench.family import Classifier

DISTANCES = [-40, -20, -10, -9, -7, -3, 1, 7, 9, 12, 20, 60]
"""Of the test pixels from the decision at 1/2, in units of 1/255."""
FIXED: dict[str, Any] = {"eps": ("8/255",), "batch_size": 5}


@pytest.fixture
def splits(pixels: Callable[..., Splits]) -> Splits:
    return pixels([0.5 + distance / 255 for distance in DISTANCES])


@pytest.mark.parametrize(
    "named",
    [
        {"attack": "torchattacks.PGD", "params": {"steps": 12, "alpha": "2/255"}},
        {"attack": "torchattacks.APGD", "params": {"steps": 12}},
        {"attack": "torchattacks.Square", "params": {"n_queries": 30}},
        {"attack": "foolbox.LinfPGD", "params": {"steps": 80}},
        {"attack": "pgd", "params": {"loss": "margin", "step": "eps/4"}},
        {"attack": "adaptive_pgd", "params": {"losses": ["margin"], "restarts": 1}},
    ],
    ids=lambda named: named["attack"],
)
def test_robust_is_who_is_further_from_the_decision_than_eps(
    named: dict[str, Any],
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    splits: Splits,
    keeps_its_word: Callable[..., None],
) -> None:
    config = NamedAttackConfig(**named, **FIXED)
    outcome = NamedAttack().evaluate(config, given(model=ramp(), splits=splits))
    keeps_its_word(NamedAttack(), config, outcome)
    (number,) = outcome.numbers
    robust = np.abs(DISTANCES) > 8
    np.testing.assert_array_equal(outcome.items["robust"], robust)
    assert number.value == robust.mean()
    assert (number.verdict, number.n) == ("inconclusive", len(DISTANCES))
    assert outcome.details["not_measured"]["robust"][:2] == ["GRAD0", "LOSSGAP"]


@pytest.mark.parametrize("attack", ["foolbox.L2CarliniWagner", "torchattacks.CW", "cw_l2"])
def test_norms_where_no_budget_is_given(
    attack: str,
    given: Callable[..., Any],
    ramp: Callable[..., Classifier],
    splits: Splits,
    keeps_its_word: Callable[..., None],
) -> None:
    """The norm of one pixel is its distance from the decision, which no attack can undercut."""
    config = NamedAttackConfig(attack=attack, norm="l2", params={"steps": 40}, curve=("0.02", "0.05"))
    outcome = NamedAttack().evaluate(config, given(model=ramp(), splits=splits))
    keeps_its_word(NamedAttack(), config, outcome)
    norms = outcome.items["l2"].astype(np.float64)
    assert np.isfinite(norms).sum() >= 6
    assert (norms >= np.abs(DISTANCES) / 255 - 1e-6).all()


def test_runs_what_run_runs(given: Callable[..., Any], ramp: Callable[..., Classifier], splits: Splits) -> None:
    config = NamedAttackConfig(attack="torchattacks.PGD", params={"steps": 3}, seed=7, items=9, **FIXED)
    outcome = NamedAttack().evaluate(config, given(model=ramp(), splits=splits))
    test = splits.test.take(np.arange(9))
    direct = attacks.run(
        "torchattacks.PGD", ramp(), test.unit_images(), test.labels,
        norm="linf", eps="8/255", seed=7, ids=test.ids, batch_size=5, steps=3,
    )  # fmt: skip
    np.testing.assert_array_equal(outcome.items["margin_after"], direct.margin_after)
    assert outcome.details["attack"] == direct.definition


def test_every_budget_is_a_job() -> None:
    config = NamedAttackConfig(attack="pgd", eps=("4/255", "8/255"))
    assert [part.argument for part in NamedAttack().parts(config)] == ["4/255", "8/255"]
    assert NamedAttack().passes(config, 100, None) == 100 * 2 * (2 * 40 + 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attack": "torchattack.PGD"}, "did you mean 'torchattacks.PGD'"),
        ({"attack": "transfer"}, "use kind = 'transfer'"),
        ({"attack": "pgd", "params": {"stps": 3}}, "did you mean 'steps'"),
        ({"attack": "pgd", "params": {"steps": "3"}}, "steps must be an integer >= 1"),
        ({"attack": "pgd", "params": {"steps": True}}, "steps must be an integer >= 1"),
        ({"attack": "pgd", "params": {"random_start": 1}}, "random_start must be true or false"),
        ({"attack": "torchattacks.APGD", "params": {"rho": "x"}}, "rho must be a number > 0 and at most 1"),
        ({"attack": "pgd", "eps": ()}, "pgd with norm linf needs eps"),
        ({"attack": "torchattacks.FAB", "eps": ()}, "torchattacks.FAB with norm linf needs eps"),
        ({"attack": "foolbox.LinfPGD", "norm": "l2"}, "knows norm linf, not l2"),
        ({"attack": "torchattacks.Square", "targets": "next-random"}, "takes no targets"),
        ({"attack": "pgd", "eps": ("8",)}, "did you mean"),
        ({"attack": "pgd", "eps": ("8/255", "8/255")}, "listed twice"),
        ({"attack": "pgd", "norm": "l2", "eps": ("1e300",)}, "at most 1e"),
        ({"attack": "pgd", "params": {"step": "eps"}}, "step must be a multiple of eps"),
        ({"attack": "pgd", "params": {"step": "eps/1e-300"}}, "step must be a multiple of eps"),
        ({"attack": "pgd", "params": {"rivals": 3}}, "rivals has no meaning for loss 'ce'"),
        ({"attack": "pgd", "params": {"loss": "margn"}}, "did you mean 'margin'"),
        ({"attack": "pgd", "params": {"loss": "ce@0"}}, "temperature must be a positive number"),
        ({"attack": "pgd", "params": {"loss": "dlr"}, "targets": "next-random"}, "no targeted form"),
        ({"attack": "pgd", "params": {"iterate": "last"}}, "iterate must be 'final' or 'any'"),
        ({"attack": "pgd", "params": {"survivors_only": True}}, "needs iterate = 'any'"),
        ({"attack": "pgd", "params": {"steps": 0}}, "steps must be an integer >= 1"),
        ({"attack": "adaptive_pgd", "params": {"losses": []}}, "at least one loss"),
        ({"attack": "adaptive_pgd", "params": {"losses": ["ce@20", "ce@20.0"]}}, "a loss is listed twice"),
        ({"attack": "adaptive_pgd", "params": {"steps": 1}}, "less than the 2 eps across the ball"),
        ({"attack": "noise", "params": {"draws": 0}}, "draws must be an integer >= 1"),
        ({"attack": "cw_l2", "norm": "l2", "params": {"c0": 1e300}}, "c0 must be a number > 0 and at most 1e"),
        ({"attack": "cw_l2", "norm": "l2", "params": {"patience": 3}}, "patience must be an integer >= 50"),
        ({"attack": "torchattacks.PGD", "params": {"alpha": "eps"}}, "step must be a multiple of eps"),
        ({"attack": "torchattacks.APGD", "params": {"eot_iter": 0}}, "eot_iter must be an integer >= 1"),
        ({"attack": "torchattacks.APGD", "params": {"loss": "margin"}}, "loss must be 'ce' or 'dlr'"),
        ({"attack": "torchattacks.APGD", "params": {"rho": 0.0}}, "rho must be a number > 0 and at most 1"),
        ({"attack": "torchattacks.Square", "params": {"p_init": -1.0}}, "p_init must be a number > 0 and at most 1"),
        ({"attack": "foolbox.LinfPGD", "params": {"abs_stepsize": "x"}}, "abs_stepsize must be a number > 0"),
    ],
)
def test_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NamedAttackConfig(**{"eps": ("8/255",), **values})


@pytest.mark.parametrize("name", [name for name in ATTACKS.names() if not named_attack(name).needs_surrogate])
def test_accepts_the_defaults_of_every_attack(name: str) -> None:
    entry = named_attack(name)
    NamedAttackConfig(attack=name, norm=entry.norms[0], eps=("8/255",), params=dict(entry.parameters))


def test_the_definition_names_every_parameter_and_no_version() -> None:
    config = NamedAttackConfig(attack="foolbox.LinfPGD", **FIXED)
    (column,) = NamedAttack().columns(config)
    assert column.definition == (
        "accuracy under foolbox.LinfPGD-linf[8/255, rel_stepsize=0.0333333, abs_stepsize=None, steps=40, "
        "random_start=True, restarts=1, batches of 5, on shifted logits]"
    )
