from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.spec import GuardConfig
from bench.train.guard import MEMORY, Guard, adjusted
from bench_models.configs import GMMCGenConfig, JEMConfig, SoftmaxConfig


def guard(**limits: Any) -> Guard:
    return Guard(GuardConfig(**limits))


def first_trip(watch: Guard, gaps: list[float]) -> int | None:
    """Index of the iteration that trips; the loss itself is harmless."""
    for index, gap in enumerate(gaps):
        if watch.observe(0.0, {"fp": gap / 2, "fq": -gap / 2}) is not None:
            return index
    return None


# --- at once ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_trips(value: float) -> None:
    """Protocol 3.2, rule 3: the original compares |L| > 1e8, which is false for NaN."""
    assert guard().observe(value, {}) == f"loss is {value}"
    assert guard().observe(1.0, {"fp": 2.0, "fq": value}) == f"fq is {value}"
    assert guard().observe(1.0, {"cross-entropy": value}) == f"cross-entropy is {value}"


@pytest.mark.parametrize("loss", [1.0001e8, -1.0001e8, 1e30])
def test_losses_beyond_1e8_trip(loss: float) -> None:
    reason = guard().observe(loss, {"fp": 1.0})
    assert reason is not None
    assert "more than 1e+08" in reason


@given(loss=st.floats(-1e8, 1e8), entropy=st.floats(allow_nan=False, allow_infinity=False))
def test_other_finite_values_do_not(loss: float, entropy: float) -> None:
    assert guard().observe(loss, {"cross-entropy": entropy}) is None


def test_the_limit_is_that_of_the_configuration() -> None:
    assert guard(loss_limit=10.0).observe(-11.0, {}) is not None
    assert guard(loss_limit=10.0).observe(9.9, {}) is None


# --- the gap between real and sampled images --------------------------------------------------------------------


def test_a_gap_above_its_limit_trips_after_twenty_iterations() -> None:
    """Protocol 3.5: |fp - fq| > 1e4 for 20 consecutive iterations."""
    off = {"early_gap": 1e9}
    assert first_trip(guard(**off), [2e4] * 40) == 19
    assert first_trip(guard(**off), [1e4] * 40) is None
    assert first_trip(guard(**off), [2e4] * 19 + [0.0] + [2e4] * 19) is None
    assert first_trip(guard(**off), [0.0] * 7 + [2e4] * 40) == 26


def test_the_early_signal_trips_before_the_limit_but_not_right_after_a_switch() -> None:
    """Recipes, section 4: above 100 and above 20 times its running median for 10 iterations; armed after 100."""
    calm = [5.0] * 150
    assert first_trip(guard(), [*calm, *[500.0] * 30]) == 159
    assert first_trip(guard(), [*calm, *[99.0] * 30]) is None  # above 20 times the median, not above 100
    assert first_trip(guard(), [*[50.0] * 150, *[900.0] * 30]) is None  # above 100, not above 20 times the median
    assert first_trip(guard(), [*calm, *[500.0] * 9, 5.0, *[500.0] * 9]) is None
    # A switch from softmax to JEM begins with gaps of 600 to 1700, by construction.
    assert first_trip(guard(), [1000.0 / (1 + index) for index in range(300)]) is None
    assert first_trip(guard(arm_after=0), [*[5.0] * 12, *[500.0] * 30]) == 21


def test_healthy_gaps_of_the_reference_runs_do_not_trip() -> None:
    """Recipes, section 4: at most about 5 for JEM and 21 for GMMC."""
    assert first_trip(guard(), [21.0 if index % 7 == 0 else 0.5 for index in range(1000)]) is None


def test_iterations_without_samples_do_not_arm_it() -> None:
    watch = guard()
    for _ in range(500):
        assert watch.observe(50.0, {"fp": 50.0}) is None
    assert first_trip(watch, [1000.0 / (1 + index) for index in range(300)]) is None


def test_its_state_goes_through_json() -> None:
    gaps = [*[5.0] * 150, *[500.0] * 30]
    for cut in (1, 100, 155):
        watch = guard()
        assert first_trip(watch, gaps[:cut]) is None
        fresh = guard()
        fresh.load(json.loads(json.dumps(watch.state())))
        assert first_trip(fresh, gaps[cut:]) == 159 - cut


def test_it_remembers_no_more_than_it_looks_back() -> None:
    watch = guard()
    assert first_trip(watch, [1.0] * (MEMORY + 50)) is None
    assert len(watch.state()["gaps"]) == MEMORY


# --- what a restart changes -------------------------------------------------------------------------------------


def test_measures_change_what_they_say() -> None:
    gen = GMMCGenConfig()
    assert adjusted(gen, ["seed"]) == gen
    assert adjusted(gen, ["steps"]).sampler.steps == 40
    assert adjusted(gen, ["step-size"]).sampler.step_size == pytest.approx(1 / 256)
    assert adjusted(gen, ["lr"]).lr == pytest.approx(5e-5)
    all_of_them = adjusted(gen, ["seed", "steps", "step-size", "lr", "lr"])
    assert all_of_them.sampler.steps == 40
    assert all_of_them.lr == pytest.approx(2.5e-5)
    assert all_of_them.sampler.buffer == gen.sampler.buffer
    assert gen == GMMCGenConfig()


@pytest.mark.parametrize(("steps", "after"), [(20, 40), (50, 80), (80, 80), (100, 100)])
def test_doubling_stops_at_eighty_steps_and_never_takes_any_away(steps: int, after: int) -> None:
    config = JEMConfig.model_validate({"sampler": {"steps": steps}})
    assert adjusted(config, ["steps"]).sampler.steps == after


def test_what_means_nothing_to_a_family_changes_nothing() -> None:
    assert adjusted(SoftmaxConfig(), ["seed", "steps", "step-size"]) == SoftmaxConfig()
