from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.execute import speed as speeds
from bench.execute.speed import Network, Speed, calibration, machine_facts, multiply_adds, save, stored

SMALL, WIDER = Network("wrn-10-1", (1, 8, 8)), Network("wrn-10-2", (1, 8, 8))


def measured(network: Network = SMALL, factor: float = 1.0) -> Speed:
    return Speed(network=network, batch=64, forward=1e-3 * factor, gradient=2.4e-3 * factor, update=3.6e-3 * factor)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "bench" / "speed"


def test_what_was_saved_is_read(cache: Path) -> None:
    assert calibration("cpu") is None
    made = save("cpu", "2026-01-02T03:04:05Z", [measured()])
    assert calibration("cpu") == made
    assert stored() == [made]
    assert made.speeds == {SMALL: measured()}


def test_other_networks_are_kept_and_the_same_is_replaced() -> None:
    save("cpu", "2026-01-01T00:00:00Z", [measured(), measured(WIDER)])
    assert save("cpu", "2026-01-02T00:00:00Z", [measured(SMALL, 2.0)]).speeds == {
        SMALL: measured(SMALL, 2.0),
        WIDER: measured(WIDER),
    }


@pytest.mark.parametrize("fact", ["_torch", "_processor"])
def test_another_version_or_cpu_has_a_calibration_of_its_own(fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    save("cpu", "2026-01-01T00:00:00Z", [measured()])
    monkeypatch.setattr(speeds, fact, {"_torch": lambda: "0.1", "_processor": lambda: ("other", ["avx2"])}[fact])
    assert calibration("cpu") is None
    assert len(stored()) == 1


def test_a_limit_on_instructions_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    free = machine_facts("cpu")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert machine_facts("cpu") == {**free, "capability": "default"}
    assert (free["threads"], free["device"]) == (1, "cpu")


def test_a_gpu_is_known_by_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "gpus" / "0000:01:00.0" / "information"
    info.parent.mkdir(parents=True)
    info.write_text("Model: \t\t NVIDIA H200\nIRQ: 5\n")
    monkeypatch.setattr(speeds, "_GPUS", tmp_path / "gpus")
    facts = machine_facts("cuda:3")
    assert (facts["device"], facts["model"]) == ("cuda", "NVIDIA H200")


@pytest.mark.parametrize("damage", ["{", "[]", '{"speeds": []}', '{"speeds": 3, "device": "cpu"}'])
def test_a_damaged_file_counts_as_missing(cache: Path, damage: str) -> None:
    save("cpu", "2026-01-01T00:00:00Z", [measured()])
    (path,) = cache.iterdir()
    path.write_text(damage)
    assert calibration("cpu") is None
    assert stored() == []


@pytest.mark.parametrize("wrong", ["0.0", "-1.0", "Infinity", "NaN", "1e308", "9" * 400])
def test_a_speed_that_is_none_counts_as_missing(cache: Path, wrong: str) -> None:
    save("cpu", "2026-01-01T00:00:00Z", [measured()])
    (path,) = cache.iterdir()
    path.write_text(path.read_text().replace("0.001", wrong))
    assert calibration("cpu") is None


@pytest.mark.parametrize("wrong", ["0", "-1", "0.5", "Infinity", "NaN", '"x"', "[64]"])
def test_a_batch_that_is_none_counts_as_missing(cache: Path, wrong: str) -> None:
    """Infinity ended `bench plan` on every machine of a shared home folder."""
    save("cpu", "2026-01-01T00:00:00Z", [measured()])
    (path,) = cache.iterdir()
    path.write_text(re.sub(r'("batch": )\d+', rf"\g<1>{wrong}", path.read_text()))
    assert calibration("cpu") is None
    assert stored() == []


def test_another_network_is_scaled_by_multiply_adds() -> None:
    made = save("cpu", "2026-01-01T00:00:00Z", [measured()])
    ratio = (multiply_adds(WIDER) or 0.0) / (multiply_adds(SMALL) or 1.0)
    assert ratio > 2
    assert made.speed(SMALL) == (measured(), 1.0)
    scaled = made.speed(WIDER)
    assert scaled is not None
    assert scaled[0] == measured()
    assert scaled[1] == pytest.approx(ratio)


def test_the_most_similar_network_stands_for_another() -> None:
    made = save("cpu", "2026-01-01T00:00:00Z", [measured(), measured(Network("wrn-28-10", (1, 8, 8)), 900.0)])
    found = made.speed(Network("wrn-28-8", (1, 8, 8)))
    assert found is not None
    assert found[0].network.backbone == "wrn-28-10"
    assert found[1] < 1


def test_a_network_without_multiply_adds_is_unknown_unless_it_was_measured() -> None:
    judge = Network("bench.evaluate.judge:BACKBONE", (1, 8, 8))
    assert multiply_adds(judge) is None
    assert save("cpu", "2026-01-01T00:00:00Z", [measured()]).speed(judge) is None
    assert save("cpu", "2026-01-01T00:00:00Z", [measured(judge)]).speed(judge) == (measured(judge), 1.0)


def test_seconds_of_a_pass() -> None:
    one = measured()
    assert one.predicting("forward") == 1e-3
    assert one.predicting("gradient") == pytest.approx(1.2e-3)
    assert one.evaluating == pytest.approx(1.2e-3)
    assert one.training(3.0) == pytest.approx(1.2e-3)
    slow = Speed(network=SMALL, batch=1, forward=1.0, gradient=2.0, update=6.0)
    # Two updates of 6 s and ten sampler steps of 2 s for an item: 32 s for 26 passes.
    assert slow.training(26.0) * 26.0 == pytest.approx(2 * 6.0 + 10 * 2.0)
