from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.attacks.threat import ThreatModel, format_eps, parse_eps, parse_step


def test_fractions_are_read_and_written_as_papers_do() -> None:
    assert parse_eps("8/255") == 8 / 255
    assert parse_eps(" 16 / 255 ") == 16 / 255
    assert format_eps(8 / 255) == "8/255"
    assert format_eps(0.5) == "0.5"
    assert format_eps(0) == "0"
    assert format_eps(math.inf) == "unbounded"


@given(st.floats(0, 100, allow_nan=False))
def test_writing_and_reading_a_budget_loses_nothing(eps: float) -> None:
    assert parse_eps(format_eps(eps)) == eps


@pytest.mark.parametrize("value", ["", "8/0", "eight", -1, "-1/255", float("nan"), float("inf"), "inf", True])
def test_what_is_no_budget_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError, match="eps must be"):
        parse_eps(value)


def test_steps_are_relative_or_absolute() -> None:
    assert parse_step("eps/30").resolve(0.3) == pytest.approx(0.01)
    assert parse_step(0.1).resolve(0.3) == pytest.approx(0.03)
    assert parse_step("2/255").resolve(0.3) == 2 / 255
    assert [parse_step(value).text for value in ("eps/30", 0.1, "2/255")] == ["eps/30", "0.1*eps", "2/255"]


@pytest.mark.parametrize("value", [0, -0.1, "eps/0", "eps", "0/255", True])
def test_a_step_must_be_positive(value: str | float) -> None:
    with pytest.raises(ValueError, match="step must be"):
        parse_step(value)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="norm must be one of linf, l2"):
        ThreatModel("l1", 0.1)  # type: ignore[arg-type]


@given(
    arrays(np.float32, (2, 3, 4, 4), elements=st.floats(0, 1, width=32)),
    arrays(np.float32, (2, 3, 4, 4), elements=st.floats(-3, 3, width=32)),
    st.floats(0, 2),
    st.sampled_from(["linf", "l2"]),
)
def test_projections_end_in_ball_and_box(images: np.ndarray, offsets: np.ndarray, eps: float, norm: str) -> None:
    threat = ThreatModel(norm, eps)  # type: ignore[arg-type]
    clean = torch.from_numpy(images)
    projected = threat.project(clean + torch.from_numpy(offsets), clean)
    difference = (projected.double() - clean.double()).flatten(1)
    norms = difference.abs().amax(dim=1) if norm == "linf" else difference.norm(dim=1)
    assert float(norms.max()) <= threat.tolerance
    assert float(projected.min()) >= 0
    assert float(projected.max()) <= 1


def test_the_l2_ball_is_used_up_where_the_box_leaves_room() -> None:
    clean = torch.full((1, 3, 4, 4), 0.5)
    projected = ThreatModel("l2", 0.3).project(clean + torch.rand(1, 3, 4, 4), clean)
    assert float((projected - clean).norm()) == pytest.approx(0.3, abs=1e-5)
