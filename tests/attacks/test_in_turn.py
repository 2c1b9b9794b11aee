"""What a sequence of proposals leaves of each image, whoever made them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.attacks.in_turn import InTurn
from bench.attacks.table import unattacked


@dataclass
class Verdicts:
    """A problem of four images of one pixel, whose proposals succeed from .8 on; margins are pixels."""

    images: Tensor

    def judge(self, proposals: Tensor, rows: NDArray[np.int64]) -> Any:
        values = proposals.flatten().numpy()
        assert len(values) == len(rows)

        @dataclass
        class Judgement:
            success: NDArray[np.bool_]
            valid: NDArray[np.bool_]
            margin: NDArray[np.float64]

        return Judgement(values >= 0.8, values <= 0.95, values.astype(np.float64))


def take(turns: InTurn, values: list[float], turn: int, member: int = 0) -> None:
    """Propose one pixel for each image that is left."""
    rows = turns.left()
    proposals = torch.tensor(values).view(-1, 1, 1, 1)
    found = unattacked(proposals)
    found["loss"][:] = torch.tensor(values, dtype=torch.float64) * 10
    found["forwards"].fill_(2)
    found["first_step"].fill_(turn)
    found["start_gradient"].fill_(turn)
    turns.take(rows, member, found, proposals, turn)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ("first", [0.9, 0.85, 0.5, 0.3]),
        ("last", [0.9, 0.85, 0.4, 0.96]),
        ("closest", [0.9, 0.85, 0.5, 0.3]),  # .96 is closer and outside of the threat model
    ],
)
def test_which_proposal_stays(keep: Any, expected: list[float]) -> None:
    turns = InTurn(Verdicts(torch.zeros(4, 1, 1, 1)), keep=keep)  # type: ignore[arg-type]
    take(turns, [0.9, 0.1, 0.5, 0.3], 0)
    assert turns.left().tolist() == [1, 2, 3]
    take(turns, [0.85, 0.4, 0.2], 1)
    assert turns.left().tolist() == [2, 3]
    if keep == "last":
        take(turns, [0.4, 0.79], 2)
        expected = [*expected[:3], 0.79]
    found = turns.found(7).table
    assert found["final"].flatten().tolist() == pytest.approx(expected)
    assert found["forwards"].tolist() == [2, 4, 6 if keep == "last" else 4, 6 if keep == "last" else 4]
    assert found["first_step"].tolist() == [0, 1, -1, -1]
    assert found["start_gradient"].tolist() == [0, 0, 0, 0]  # of the first attack on an image
    assert turns.composition.broken_at[:, 0].tolist() == [0, 1, -1, -1]
    assert turns.found(7).steps == 7


def test_the_closest_miss_within_the_threat_model_is_kept() -> None:
    turns = InTurn(Verdicts(torch.zeros(2, 1, 1, 1)), keep="closest")  # type: ignore[arg-type]
    for turn, values in enumerate(([0.5, 0.1], [0.4, 0.6], [0.7, 0.2])):
        take(turns, list(values), turn)
    found = turns.found(any_iterate=True)
    assert found.table["first"].flatten().tolist() == pytest.approx([0.7, 0.6])
    assert found.table["loss"].tolist() == pytest.approx([7, 6])
    assert found.composition is turns.composition
    assert not found.has_final


def test_members_are_told_apart() -> None:
    turns = InTurn(Verdicts(torch.zeros(3, 1, 1, 1)), ("a", "b"))  # type: ignore[arg-type]
    take(turns, [0.9, 0.1, 0.2], 0, member=0)
    take(turns, [0.9, 0.3], 0, member=1)
    assert turns.composition.winner.tolist() == [0, 1, -1]
    assert turns.composition.tried.tolist() == [[True, False], [True, True], [True, True]]
    assert turns.left(0).tolist() == [1, 2]
