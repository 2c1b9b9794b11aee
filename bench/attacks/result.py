"""What is known about every image after an attack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .norms import norms_with_failures
from .problem import Composition, GradientHealth


@dataclass(frozen=True)
class AttackResult:
    """One attack on N images; arrays have first dimension N.

    An image that the model gets wrong without an attack is not attacked: its adversarial is the clean image.

    Attributes:
        definition: The attack with all resolved parameters.
        ids: Identities of the images.
        adversarials: (N, C, H, W) what the attack returned, in [0, 1] unless ``valid`` is false.
        predictions: Predicted classes of the adversarials.
        clean_predictions: Predicted classes of the images.
        clean_correct: Whether the clean prediction is right; never where an output is not finite.
        clean_finite: Whether all outputs for the clean image are finite.
        success: Whether the attack succeeded, by the judge, on the iterate of the definition.
        success_final: Success of the final iterate; None if images were dropped before it (survivors_only).
            For library attacks that of the returned image.
        success_any: Success of any iterate; None for library attacks.
        first_step: First wrong iterate of the run that broke the image, 0 being the start; -1 for never.
        robust: Clean-correct and not a success.
        valid: Whether the returned image is within the threat model with finite logits, and, for
            library attacks, neither untouched nor blanked. True for images that were not attacked.
        linf: L_inf norm of the perturbation.
        l2: L2 norm of the perturbation.
        loss: Loss of the attack at its last iterate; NaN for library attacks and images not attacked.
        margin_before: max_{k != y} z_k - z_y of the image.
        margin_after: The same of the adversarial; positive where the prediction is wrong.
        forwards: Forward passes that the attack spent, without the judge's; a batch average for libraries.
        health: Gradient health.
        composition: For attacks with several losses: what each of them did; else None.
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
    composition: Composition | None = None

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
        """(N,) L2 norms, infinity where there was no success; see `bench.attacks.norms`."""
        return norms_with_failures(self.l2, self.success)
