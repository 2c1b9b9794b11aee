from __future__ import annotations

import pytest
import torch

from bench.attacks.table import HEALTH, Table, unattacked


def table(count: int) -> Table:
    return Table({"loss": torch.arange(count, dtype=torch.float64), "first_step": torch.arange(count)})


def test_marked_rows_are_overlaid_in_their_places() -> None:
    whole = table(5)
    marks = torch.tensor([True, False, True])
    whole.overlay(torch.tensor([3, 2, 0]), marks, {"loss": torch.tensor([7.0, 8.0, 9.0]).double(), "first_step": 6})
    assert whole["loss"].tolist() == [9, 1, 2, 7, 4]
    assert whole["first_step"].tolist() == [6, 1, 2, 6, 4]
    assert (whole["loss"].dtype, whole["first_step"].dtype) == (torch.float64, torch.int64)


def test_all_rows_are_overlaid_as_some_are() -> None:
    marks = torch.tensor([True, False, False, True])
    pictures, others = torch.rand(4, 1, 2, 2), torch.rand(4, 1, 2, 2)
    whole = Table({"final": pictures.clone()})
    whole.overlay(torch.arange(4), marks, {"final": others})
    assert torch.equal(whole["final"], torch.where(marks[:, None, None, None], others, pictures))


def test_rows_are_a_table_of_their_own() -> None:
    whole = table(5)
    some = whole.rows(torch.tensor([True, False, True, False, False]))
    some["loss"].fill_(-1)
    assert some["first_step"].tolist() == [0, 2]
    assert whole["loss"].tolist() == [0, 1, 2, 3, 4]


def test_parts_are_joined_in_order() -> None:
    joined = Table.joined([table(2), table(3)])
    assert joined["first_step"].tolist() == [0, 1, 0, 1, 2]
    assert len(joined) == 5
    assert list(joined) == ["loss", "first_step"]


def test_nothing_is_known_before_an_attack() -> None:
    images = torch.rand(3, 1, 2, 2)
    found = unattacked(images)
    assert torch.equal(found["final"], images)
    assert "first" not in found
    found["final"][0] = 0
    assert not torch.equal(images[0], torch.zeros(1, 2, 2))
    assert found["first_step"].tolist() == [-1, -1, -1]
    assert found["forwards"].tolist() == [0, 0, 0]
    assert all(bool(found[name].isnan().all()) for name in ("loss", *HEALTH))
    assert found.health.zero_gradient_share != found.health.zero_gradient_share  # nothing was measured


def test_shares_of_health_are_those_of_the_measured_images() -> None:
    found = unattacked(torch.zeros(4, 1, 1, 1))
    found["start_gradient"][:] = torch.tensor([0.0, 1.0, 2.0, torch.nan])
    found["last_gradient"][:] = torch.tensor([0.0, 0.0, 2.0, torch.nan])
    found["start_probability"][:] = torch.tensor([1.0, 0.5, 0.5, torch.nan])
    found["last_probability"][:] = torch.tensor([0.5, 0.5, 0.5, torch.nan])
    assert found.health.zero_gradient_share == pytest.approx(2 / 3)
    assert found.health.certain_share == pytest.approx(1 / 3)
    assert found.without_health()["start_gradient"].isnan().all()
    assert found["start_gradient"][1] == 1
