"""What a suite may ask of an attack is what the attack's builder takes: nothing that passes here fails in a worker."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attacks.catalogue import ENTRIES
from bench.attacks.losses import LOSSES, get_loss
from bench.attacks.parameters import LOSS_NAMES, check_parameters, checked_loss
from bench.attacks.threat import ThreatModel, parse_eps

OWN = sorted(name for name, entry in ENTRIES.items() if "." not in name and not entry.needs_surrogate)
VALUES = st.sampled_from([
    *(0, 1, 2, 49, 50, 10**40, -1, True, False, None, 0.0, 0.5, 1.0, 1e-300, 1e300, float("nan"), float("inf")),
    *("", "x", "eps", "eps/10", "eps/0", "8/255", "1e300", "final", "any", "margin", "dlr", "distance-targeted"),
    *("ce@0", "ce@1e5", "ce@20.0", "ce@T", [], ["ce"], ["ce", "ce"], ["ce@2", "ce@2.0"], ["ce@T", "margin"]),
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(OWN), data=st.data(), targeted=st.booleans())
def test_what_is_accepted_can_be_built(name: str, data: Any, targeted: bool) -> None:
    entry = ENTRIES[name]
    keys = data.draw(st.lists(st.sampled_from(sorted(entry.parameters)), max_size=2, unique=True))
    params = entry.resolve({key: data.draw(VALUES) for key in keys})
    if any(type(params[key]) is not type(entry.parameters[key]) for key in keys if entry.parameters[key] is not None):
        return  # of another kind than the default: refused before
    targeted &= entry.targetable
    try:
        check_parameters(name, params, ["8/255"], targeted=targeted)
    except ValueError:
        return
    module, _, function = entry.implementation.partition(":")
    threat = ThreatModel("l2", parse_eps("8/255"))
    getattr(importlib.import_module(module), function)(params, threat, targeted=targeted)


def test_the_names_of_losses_are_those_that_there_are() -> None:
    assert set(LOSS_NAMES) == set(LOSSES)


@pytest.mark.parametrize("name", [*LOSS_NAMES, "ce@20", "ce@20.0", "ce@0.05", "ce@100000"])
def test_a_loss_has_the_name_that_definitions_print(name: str) -> None:
    assert checked_loss(name) == get_loss(name).name


@pytest.mark.parametrize("name", ["ce@0", "ce@0.0", "ce@", "ce@x", "ce@-1", "ce@" + "9" * 400, "margn", "", 5, None])
def test_other_losses_are_refused(name: object) -> None:
    with pytest.raises(ValueError, match="loss"):
        checked_loss(name)
