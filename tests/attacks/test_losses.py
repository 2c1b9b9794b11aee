from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.attacks.losses import LOSSES, LossInputs, get_loss, margins

LOGITS = torch.tensor([[1.0, 3.0, -2.0, 0.5], [-9.0, -7.0, -8.0, -7.5]])
LABELS = torch.tensor([1, 0])
TARGETS = torch.tensor([3, 2])


def test_margin_by_hand() -> None:
    # Row 0: best other 1 against 3. Row 1: all negative, best other -7 against -9.
    assert get_loss("margin")(LossInputs(LOGITS, LABELS)).tolist() == [-2.0, 2.0]
    assert get_loss("margin")(LossInputs(LOGITS, LABELS, TARGETS)).tolist() == [-2.5, -1.0]
    assert get_loss("margin-targeted")(LossInputs(LOGITS, LABELS, TARGETS)).tolist() == [-2.5, 1.0]


def test_cross_entropy_by_hand() -> None:
    rows = torch.log_softmax(LOGITS, dim=1)
    expected = torch.tensor([-rows[0, 1], -rows[1, 0]])
    torch.testing.assert_close(get_loss("ce")(LossInputs(LOGITS, LABELS)), expected)
    cooled = torch.log_softmax(LOGITS / 20, dim=1)
    torch.testing.assert_close(
        get_loss("ce@20")(LossInputs(LOGITS, LABELS)), torch.tensor([-cooled[0, 1], -cooled[1, 0]])
    )
    torch.testing.assert_close(
        get_loss("ce")(LossInputs(LOGITS, LABELS, TARGETS)), torch.tensor([rows[0, 3], rows[1, 2]])
    )


def test_dlr_by_hand_and_scale_free() -> None:
    # Row 0: -(3 - 1) / (3 - 0.5); row 1: -(-9 + 7) / (-7 + 8).
    expected = torch.tensor([-0.8, 2.0])
    torch.testing.assert_close(get_loss("dlr")(LossInputs(LOGITS, LABELS)), expected)
    torch.testing.assert_close(get_loss("dlr")(LossInputs(1000 * LOGITS, LABELS)), expected)


def test_distances_by_hand() -> None:
    features, centers = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    inputs = LossInputs(torch.zeros(1, 2), torch.tensor([0]), None, features, centers)
    assert get_loss("distance")(inputs).tolist() == [5.0]
    targeted = LossInputs(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([1]), features, centers)
    assert get_loss("distance")(targeted).tolist() == [-4.0]
    assert get_loss("distance-targeted")(targeted).tolist() == [-4.0]


@given(st.floats(1, 1000))
def test_losses_do_not_average_over_the_batch(scale: float) -> None:
    one = (scale * LOGITS[:1]).requires_grad_()
    many = (scale * LOGITS[:1]).repeat(50, 1).requires_grad_()
    for name in ("ce", "margin", "dlr"):
        (alone,) = torch.autograd.grad(get_loss(name)(LossInputs(one, LABELS[:1])).sum(), one)
        loss = get_loss(name)(LossInputs(many, LABELS[:1].repeat(50))).sum()
        (together,) = torch.autograd.grad(loss, many)
        torch.testing.assert_close(together[7], alone[0])


def test_margin_agrees_with_the_prediction() -> None:
    logits = torch.randn(200, 6, generator=torch.Generator().manual_seed(0)) - 100
    labels = torch.arange(200) % 6
    assert torch.equal(margins(logits, labels) > 0, logits.argmax(dim=1) != labels)


def test_cross_entropy_freezes_where_the_margin_does_not() -> None:
    # exp(-gap) is 0 in float32 beyond a gap of 103.97: the reason for the other losses.
    gradients = {}
    for name in ("ce", "ce@20", "margin", "dlr"):
        logits = torch.tensor([[111.0, 0.0, -1.0]], requires_grad=True)
        (gradients[name],) = torch.autograd.grad(get_loss(name)(LossInputs(logits, torch.tensor([0]))).sum(), logits)
    assert not gradients["ce"].any()
    assert all(gradients[name].any() for name in ("ce@20", "margin", "dlr"))


def test_what_a_loss_cannot_do_is_said() -> None:
    two = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="needs at least 3 classes, the model has 2"):
        get_loss("dlr")(LossInputs(two, torch.tensor([0])))
    with pytest.raises(ValueError, match="no targeted form"):
        get_loss("dlr")(LossInputs(LOGITS, LABELS, TARGETS))
    with pytest.raises(ValueError, match="needs a target"):
        get_loss("margin-targeted")(LossInputs(LOGITS, LABELS))
    with pytest.raises(ValueError, match=r"features\(x\) and class_centers\(\)"):
        get_loss("distance")(LossInputs(LOGITS, LABELS))


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'margin'"):
        get_loss("margn")
    for name in ("ce@0", "ce@-1", "ce@x", "ce@inf"):
        with pytest.raises(ValueError, match="temperature must be a positive number"):
            get_loss(name)


def test_every_loss_has_a_definition() -> None:
    assert all(loss.definition and loss.name == name for name, loss in LOSSES.items())
    assert get_loss("ce@20").name == "ce@20"
