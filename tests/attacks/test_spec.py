"""What parameters an attack takes: what is accepted runs, and the rest is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attacks import run
from bench.attacks.losses import LOSSES, get_loss
from bench.attacks.named import ATTACKS, named_attack
from bench.attacks.spec import check_reach
from bench.attacks.threat import ThreatModel, parse_eps, parse_step

OWN = [attack.name for attack in ATTACKS.values() if attack.own]
VALUES = st.sampled_from([
    *(0, 1, 2, 49, 50, 10**40, -1, True, False, None, 0.0, 0.5, 1.0, 1e-300, 1e300, float("nan"), float("inf")),
    *("", "x", "eps", "eps/10", "eps/0", "8/255", "1e300", "final", "any", "margin", "dlr", "distance-targeted"),
    *("ce@0", "ce@1e5", "ce@20.0", "ce@T", [], ["ce"], ["ce", "ce"], ["ce@2", "ce@2.0"], ["ce@T", "margin"]),
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(ATTACKS.names()), data=st.data(), targeted=st.booleans())
def test_what_is_accepted_can_be_told(name: str, data: Any, targeted: bool) -> None:
    attack = named_attack(name)
    keys = data.draw(st.lists(st.sampled_from(sorted(attack.parameters)), max_size=2, unique=True))
    threat = ThreatModel("l2" if "l2" in attack.norms else "linf", parse_eps("8/255"))
    try:
        chosen = attack.configured({key: data.draw(VALUES) for key in keys})
        chosen.check(threat, targeted=targeted and attack.targetable)
    except ValueError as error:
        said = str(error)
    else:
        assert chosen.definition(threat)
        assert chosen.passes() >= 0
        return
    assert said.startswith(name)  # and nothing of pydantic
    assert "\n" not in said


@pytest.mark.parametrize("name", OWN)
def test_a_definition_has_every_parameter_that_changes_the_attack(name: str) -> None:
    """Two attacks with one definition are one attack: a journal and a table take them for the same."""
    other: dict[str, Any] = {
        "steps": 401, "step": "eps/3", "loss": "ce@20", "losses": ("ce",), "restarts": 3, "random_start": False,
        "iterate": "any", "rivals": 4, "complete": True, "draws": 3, "rounds": 3, "c0": 0.5, "lr": 0.5, "kappa": 0.5,
        "patience": 60, "survivors_only": True, "search_precision": "bf16",
    }  # fmt: skip
    together: dict[str, dict[str, Any]] = {
        "survivors_only": {"iterate": "any"},
        "rivals": {"loss": "margin-targeted"} if name == "pgd" else {},
        "patience": {"steps": 500},
    }
    attack = named_attack(name)
    threat = ThreatModel(attack.norms[-1], 0.25)  # type: ignore[arg-type]
    for key in attack.parameters:
        base = together.get(key, {})
        changed = attack.configured({**base, key: other[key]})
        assert changed.definition(threat) != attack.configured(base).definition(threat), key


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("pgd", {"steps": 0}, "pgd: steps must be an integer >= 1, got 0"),
        ("pgd", {"iterate": "last"}, "pgd: iterate must be 'final' or 'any', got 'last'"),
        ("pgd", {"survivors_only": True}, "pgd: survivors_only .* needs iterate = 'any'"),
        ("pgd", {"rivals": 3}, "pgd: rivals has no meaning for loss 'ce'"),
        ("adaptive_pgd", {"losses": []}, "adaptive_pgd: losses must be a list of at least one loss"),
        ("adaptive_pgd", {"losses": ["ce@2", "ce@2.0"]}, "adaptive_pgd: losses: a loss is listed twice"),
        ("adaptive_pgd", {"steps": 2}, "adaptive_pgd: 2 steps of eps/10, halved at 50% and 75%, reach 0.15 eps"),
        ("cw_l2", {"patience": 7}, "cw_l2: patience must be an integer >= 50 .* or None, got 7"),
        ("cw", {"c": -1}, "cw: c must be a number from 0 to"),
        ("torchattacks.APGD", {"loss": "margin"}, "torchattacks.APGD: loss must be 'ce' or 'dlr', got 'margin'"),
        ("torchattacks.Square", {"p_init": 2}, "torchattacks.Square: p_init must be a number > 0 and at most 1, got 2"),
    ],
)
def test_wrong_values_are_named(name: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named_attack(name, params)


@pytest.mark.parametrize("loss", ["dlr"])
def test_losses_without_a_form_for_given_targets_are_refused(make_linear: Any, loss: str) -> None:
    toy = make_linear(count=4)
    with pytest.raises(ValueError, match="has no targeted form"):
        run("pgd", toy.model, toy.images, toy.labels, norm="linf", eps=0.1, seed=0, loss=loss, targets=1 - toy.labels)


@pytest.mark.parametrize("name", [*LOSSES, "ce@20", "ce@20.0", "ce@0.05", "ce@100000"])
def test_a_loss_has_one_name(name: str) -> None:
    assert get_loss(get_loss(name).name).name == get_loss(name).name


@pytest.mark.parametrize("name", ["ce@0", "ce@0.0", "ce@", "ce@x", "ce@-1", "ce@" + "9" * 400, "margn", "", 5, None])
def test_other_losses_are_refused(name: object) -> None:
    with pytest.raises(ValueError, match="loss"):
        get_loss(name)


def test_steps_must_cross_the_ball() -> None:
    # 40 steps: 20/8 + 10/16 + 10/32 = 3.4 eps; 16 of eps/8: 1 + 1/4 + 1/8 = 1.375 eps.
    check_reach(40, parse_step("eps/8"), None)
    with pytest.raises(ValueError, match=r"16 steps of eps/8, .* reach 1.4 eps"):
        check_reach(16, parse_step("eps/8"), None)
    absolute = parse_step("1/255")
    check_reach(16, absolute, 4 / 255)  # 8 + 2 + 1 = 11 of 255 cross a ball of radius 4
    with pytest.raises(ValueError, match="16 steps of 1/255"):
        check_reach(16, absolute, 8 / 255)
    check_reach(16, absolute, None)
    check_reach(1, parse_step("eps/8"), 0.0)
