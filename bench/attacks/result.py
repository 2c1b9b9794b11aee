"""The result of an attack, one row per image, and which member of a sequence of attacks broke which image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEALTH", "AttackResult", "Composition", "GradientHealth"]

HEALTH = ("start_gradient", "last_gradient", "start_probability", "last_probability")
"""Columns of gradient health: whether the loss has a usable gradient."""


@dataclass(frozen=True, eq=False)
class GradientHealth:
    """Whether the loss has a usable gradient; arrays of shape (N,), NaN where not attacked.

    The start is the first iterate of the first restart. The last step is measured at the iterate before it.

    Attributes:
        start_gradient: Largest absolute input gradient of the loss at the start.
        last_gradient: Largest absolute input gradient of the loss at the last step.
        start_probability: softmax(z)_y in float32 at the start.
        last_probability: softmax(z)_y in float32 at the last step.
    """

    start_gradient: NDArray[np.float64]
    last_gradient: NDArray[np.float64]
    start_probability: NDArray[np.float64]
    last_probability: NDArray[np.float64]

    @property
    def zero_gradient_share(self) -> float:
        """Share of attacked images with an exactly zero gradient, the larger of start and last step."""
        return self._larger(self.start_gradient == 0, self.last_gradient == 0)

    @property
    def certain_share(self) -> float:
        """Share of attacked images whose p_y rounds to 1 in float32, the larger of start and last step."""
        return self._larger(self.start_probability == 1, self.last_probability == 1)

    def _larger(self, start: NDArray[np.bool_], last: NDArray[np.bool_]) -> float:
        count = int((~np.isnan(self.start_gradient)).sum())
        return max(int(start.sum()), int(last.sum())) / count if count else float("nan")


@dataclass(frozen=True)
class Composition:
    """Which member of a sequence of attacks broke which image.

    Attributes:
        members: Names, in the order of attack.
        broken_at: (N, M) round in which the member broke the image; -1 if it did not break or not attack it.
        tried: (N, M) whether the member attacked the image.
        winner: (N,) index of the member that broke the image first, -1 for none.
        facts: By member, measured values such as the temperature and the share of zero gradients.
    """

    members: tuple[str, ...]
    broken_at: NDArray[np.int64]
    tried: NDArray[np.bool_]
    winner: NDArray[np.int64]
    facts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @staticmethod
    def of(members: Sequence[str], count: int, facts: Mapping[str, Mapping[str, float]] | None = None) -> Composition:
        """The composition of ``count`` images before any attack."""
        size = (count, len(members))
        nothing = np.full(size, -1, dtype=np.int64)
        winner = np.full(count, -1, dtype=np.int64)
        return Composition(tuple(members), nothing, np.zeros(size, dtype=np.bool_), winner, facts or {})

    def left(self, member: int | None = None) -> NDArray[np.int64]:
        """Indices of the images that no member has broken; with ``member``, those that this member has not broken."""
        unbroken = self.winner < 0 if member is None else self.broken_at[:, member] < 0
        return np.flatnonzero(unbroken)

    def took(
        self, rows: NDArray[np.int64], member: int, success: NDArray[np.bool_], turn: int = 0
    ) -> NDArray[np.bool_]:
        """Record the successes of a member.

        Args:
            rows: (M,) indices of the images that it attacked.
            member: Index of the member.
            success: (M,) whether it broke the image.
            turn: Number of the round.

        Returns:
            (M,) whether it broke the image and no member had broken it before.
        """
        new: NDArray[np.bool_] = success & (self.winner[rows] < 0)
        self.tried[rows, member] = True
        self.broken_at[rows[success], member] = turn
        self.winner[rows[new]] = member
        return new

    @property
    def alone(self) -> NDArray[np.int64]:
        """(N,) index of the only member that broke the image; -1 where none or several did.

        Valid only for images that every member attacked.
        """
        broken = self.broken_at >= 0
        return np.where(broken.sum(axis=1) == 1, broken.argmax(axis=1), -1).astype(np.int64)

    def spread(self, rows: NDArray[np.int64], count: int) -> Composition:
        """The composition of ``count`` images, where these are the ``rows`` and the others were not attacked."""
        whole = Composition.of(self.members, count, self.facts)
        whole.broken_at[rows], whole.tried[rows], whole.winner[rows] = self.broken_at, self.tried, self.winner
        return whole


@dataclass(frozen=True, eq=False)
class AttackResult:
    """One attack on N images; arrays have first dimension N.

    Images that the model misclassifies without an attack are not attacked: their adversarial is the clean image.

    Attributes:
        definition: The attack with all resolved parameters.
        ids: Identities of the images.
        adversarials: (N, C, H, W) images that the attack returned, in [0, 1] unless ``valid`` is false.
        predictions: Predicted classes of the adversarials.
        clean_predictions: Predicted classes of the images.
        clean_correct: Whether the clean prediction is right; false if an output is not finite.
        clean_finite: Whether all outputs for the clean image are finite.
        success: Whether the judge counts the iterate of the definition as a success.
        success_final: Success of the final iterate; None if images were dropped before it (survivors_only).
            For library attacks, success of the returned image.
        success_any: Success of any iterate; None for library attacks.
        first_step: First wrong iterate of the run that broke the image, 0 being the start; -1 if there is none.
        robust: Clean-correct and not a success.
        valid: Whether the returned image is within the threat model with finite logits and, for library attacks,
            neither equal to the image nor black. True for images that were not attacked.
        linf: L_inf norm of the perturbation.
        l2: L2 norm of the perturbation.
        loss: Loss of the attack at its last iterate; NaN for library attacks and images not attacked.
        margin_before: max_{k != y} z_k - z_y of the image.
        margin_after: The same margin of the adversarial; positive where the prediction is wrong.
        forwards: Forward passes of the attack without those of the judge; a batch average for libraries.
        health: Gradient health.
        composition: For attacks with several losses, which loss broke which image; else None.
        search_precision: Precision in which the attack searched, ``"float32"`` or ``"bf16"``.
    """

    definition: str
    ids: NDArray[np.int64]
    adversarials: NDArray[np.floating]
    predictions: NDArray[np.int64]
    clean_predictions: NDArray[np.int64]
    clean_correct: NDArray[np.bool_]
    clean_finite: NDArray[np.bool_]
    success: NDArray[np.bool_]
    success_final: NDArray[np.bool_] | None
    success_any: NDArray[np.bool_] | None
    first_step: NDArray[np.int64]
    robust: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    linf: NDArray[np.float64]
    l2: NDArray[np.float64]
    loss: NDArray[np.float64]
    margin_before: NDArray[np.float64]
    margin_after: NDArray[np.float64]
    forwards: NDArray[np.float64]
    health: GradientHealth
    composition: Composition | None
    search_precision: str = "float32"

    @property
    def clean_accuracy(self) -> float:
        """Share of correct clean predictions; NaN without images."""
        return float(self.clean_correct.mean()) if len(self.ids) else float("nan")

    @property
    def robust_accuracy(self) -> float:
        """Share of robust images among all N, an upper bound; NaN without images."""
        return float(self.robust.mean()) if len(self.ids) else float("nan")

    @property
    def l2_with_failures(self) -> NDArray[np.float64]:
        """(N,) L2 norms, infinity where there was no success."""
        return np.where(self.success, self.l2, np.inf)
