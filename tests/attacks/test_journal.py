"""A killed attack goes on where it stood, and ends with the bits of one that was never interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.attacks import AttackResult, run
from bench.attacks.journal import Journal, arrays_in

ATTACKS: dict[str, dict[str, Any]] = {
    "pgd": {"norm": "linf", "eps": 0.02, "steps": 6, "loss": "margin", "restarts": 2},
    "adaptive_pgd": {
        "norm": "linf",
        "eps": 0.02,
        "steps": 6,
        "step": "eps/2",
        "restarts": 2,
        "losses": ["ce@T", "margin", "margin-targeted"],
        "complete": True,
    },
    "transfer": {"norm": "linf", "eps": 0.02, "steps": 6, "step": "eps/2", "restarts": 3},
    "cw_l2": {"norm": "l2", "steps": 8, "rounds": 3, "c0": 1.0},
    "torchattacks.Square": {"norm": "linf", "eps": 0.02, "n_queries": 12, "restarts": 2},
    "torchattacks.APGD": {"norm": "linf", "eps": 0.02, "steps": 6},
}


class Mortal(nn.Module):
    """A model whose process is killed after some forward passes."""

    def __init__(self, model: nn.Module, life: float = float("inf")) -> None:
        super().__init__()
        self.model, self.life, self.passes = model, life, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        if self.passes > self.life:
            raise KeyboardInterrupt
        logits: Tensor = self.model(images)
        return logits


def attack(name: str, model: nn.Module, toy: Any, journal: Journal | None = None, **other: Any) -> AttackResult:
    given = {"seed": 3, "batch_size": 8, **ATTACKS[name], **other}
    if name == "transfer":
        given["surrogate"] = model
    return run(name, model, toy.images, toy.labels, journal=journal, **given)


def same(one: Any, other: Any) -> bool:
    """Equal in every bit, however deep."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if type(one).__module__.startswith("bench."):
        return all(same(value, vars(other)[name]) for name, value in vars(one).items())
    return bool(one == other)


@pytest.mark.parametrize("name", ATTACKS)
def test_killed_again_and_again_ends_with_the_same_bits(name: str, make_linear: Any, tmp_path: Path) -> None:
    toy = make_linear(count=24)
    whole = Mortal(toy.model)
    expected = attack(name, whole, toy)
    kills, last = 0, None
    # Long enough for the clean pass, for what the judge sees again, and for a piece or more.
    life = whole.passes // 2
    while last is None:
        mortal = Mortal(toy.model, life)
        try:
            last = attack(name, mortal, toy, Journal(tmp_path, every=0))
        except KeyboardInterrupt:
            kills += 1
            assert kills < 12, "no progress survives a kill"
    assert kills >= 1
    assert mortal.passes < whole.passes
    assert same(last, expected)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_journal_changes_no_bit(name: str, make_linear: Any, tmp_path: Path) -> None:
    toy = make_linear(count=24)
    # With a long interval every piece waits in memory while the attack goes on.
    assert same(attack(name, toy.model, toy, Journal(tmp_path, every=1e9)), attack(name, toy.model, toy))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ATTACKS)
def test_a_finished_attack_is_read_whole(name: str, make_linear: Any, tmp_path: Path) -> None:
    toy = make_linear(count=24)
    first = attack(name, toy.model, toy, Journal(tmp_path, every=0))
    again = Mortal(toy.model)
    assert same(attack(name, again, toy, Journal(tmp_path, every=0)), first)
    fresh = Mortal(toy.model)
    attack(name, fresh, toy)
    # What is left are the passes of the judge.
    assert again.passes < fresh.passes / 2


@pytest.mark.parametrize(
    "change",
    [{"seed": 4}, {"eps": 0.03}, {"steps": 7}, {"batch_size": 6}, {"ids": np.arange(24) + 1}],
    ids=lambda change: next(iter(change)),
)
def test_another_attack_finds_nothing(change: dict[str, Any], make_linear: Any, tmp_path: Path) -> None:
    toy = make_linear(count=24)
    attack("pgd", toy.model, toy, Journal(tmp_path, every=0))
    expected = attack("pgd", toy.model, toy, **change)
    assert same(attack("pgd", toy.model, toy, Journal(tmp_path, every=0), **change), expected)


def test_another_model_finds_nothing(make_linear: Any, tmp_path: Path) -> None:
    toy, other = make_linear(count=24), make_linear(count=24, seed=0, scale=1.01)
    attack("pgd", toy.model, toy, Journal(tmp_path, every=0))
    expected = attack("pgd", other.model, toy)
    assert same(attack("pgd", other.model, toy, Journal(tmp_path, every=0)), expected)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_pieces_are_computed_again(data: st.DataObject, make_linear: Any, tmp_path: Path) -> None:
    toy = make_linear(count=24)
    expected = attack("pgd", toy.model, toy, Journal(tmp_path, every=0))
    for path in sorted(tmp_path.glob("*.npz")):
        content = bytearray(path.read_bytes())
        match data.draw(st.sampled_from(["whole", "cut", "flipped", "empty", "gone"])):
            case "cut":
                path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
            case "flipped":
                content[data.draw(st.integers(0, len(content) - 1))] ^= 0xFF
                path.write_bytes(content)
            case "empty":
                path.write_bytes(b"")
            case "gone":
                path.unlink()
            case _:
                pass
    assert same(attack("pgd", toy.model, toy, Journal(tmp_path, every=0)), expected)


def test_pieces_are_written_when_it_is_time(tmp_path: Path) -> None:
    now = 0.0
    journal = Journal(tmp_path, every=15, clock=lambda: now)
    pages = journal.pages("attack")
    for now in (1.0, 14.0):
        pages.remember(f"at {now}", lambda: {"x": np.ones(3)})
    assert not list(tmp_path.iterdir())
    now = 15.0
    pages.remember("at 15", lambda: {"x": np.ones(3)})
    assert len(list(tmp_path.iterdir())) == 3
    now = 16.0
    pages.remember("at 16", lambda: {"x": np.ones(3)})
    assert len(list(tmp_path.iterdir())) == 3


def test_a_full_disk_costs_no_result(make_linear: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = make_linear(count=24)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    result = attack("pgd", toy.model, toy, Journal(tmp_path, every=0))
    monkeypatch.undo()
    assert same(result, attack("pgd", toy.model, toy))
    assert not list(tmp_path.iterdir())


def test_parts_do_not_meet(tmp_path: Path) -> None:
    pages = Journal(tmp_path, every=0).pages("attack")
    values = [
        pages.remember("x", lambda: {"v": np.array(0)}),
        pages.within("a").remember("x", lambda: {"v": np.array(1)}),
        pages.within("b").remember("x", lambda: {"v": np.array(2)}),
        Journal(tmp_path).pages("other").remember("x", lambda: {"v": np.array(3)}),
    ]
    assert [int(value["v"]) for value in values] == [0, 1, 2, 3]


def test_what_waits_does_not_change_with_the_attack(tmp_path: Path) -> None:
    from bench.attacks.problem import Problem
    from bench.attacks.table import Table

    pages = Journal(tmp_path, every=1e9).pages("attack")
    problem = object.__new__(Problem)
    object.__setattr__(problem, "pages", pages)
    found = problem.remember("x", lambda: Table({"v": torch.zeros(3)}))
    found["v"].add_(1)
    assert problem.remember("x", lambda: Table({}))["v"].tolist() == [0, 0, 0]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), compressed=st.booleans())
def test_no_damaged_byte_makes_reading_fail(place: int, value: int, compressed: bool, tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    arrays = {"a": np.arange(12.0), "b": np.array([True, False])}
    (np.savez_compressed if compressed else np.savez)(path, allow_pickle=False, **arrays)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    found = arrays_in(path)
    # A byte that no checksum covers, such as a date, may differ: then the arrays are what they were.
    assert found is None or all(np.array_equal(found[name], arrays[name]) for name in arrays if name in found)


def test_what_is_not_there_has_no_arrays(tmp_path: Path) -> None:
    assert arrays_in(tmp_path / "absent.npz") is None
