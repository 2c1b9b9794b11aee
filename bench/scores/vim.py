"""Virtual-logit matching: how far features lie outside of the principal space of the training features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from bench.scores.arrays import FloatArray, finite_rows
from bench.scores.spec import Arrays, Score, UndefinedScoreError

__all__ = ["Head", "ViM", "VirtualLogit", "fit_vim", "linear_head", "vim"]

_FITS = 1e-3
"""Largest error of a linear head, as a share of the range of the logits. Float32 outputs leave about 1e-6."""


@dataclass(frozen=True)
class Head:
    """A linear map from features to logits, W^T f + b.

    Attributes:
        weight: W, shape (d, K).
        bias: b, shape (K,).
    """

    weight: FloatArray
    bias: FloatArray

    def __call__(self, features: FloatArray) -> FloatArray:
        """Features (n, d) to logits (n, K)."""
        logits: FloatArray = features @ self.weight + self.bias
        return logits

    @property
    def origin(self) -> FloatArray:
        """-(W^T)^+ b, shape (d,): the point from which the head has no bias, as far as there is one."""
        point: FloatArray = -np.linalg.pinv(self.weight.T) @ self.bias
        return point


@dataclass(frozen=True)
class VirtualLogit:
    """What ViM learns from training items.

    Attributes:
        head: The linear head.
        residual: Orthonormal basis of the complement of the principal space, shape (d, d - D).
        alpha: Factor of the residual norm.
    """

    head: Head
    residual: FloatArray
    alpha: float


def linear_head(features: npt.ArrayLike, logits: npt.ArrayLike) -> Head:
    """The linear head of a model, by least squares from its features and logits; exact up to rounding if there is one.

    The logits of GMMC are -||f - mu_y||^2 / 2, which is not linear. They are linear up to the term -||f||^2 / 2 that
    all classes share and p(y|x) does not depend on. If the logits themselves are not linear, the head is therefore that
    of the logits less their mean over classes; for GMMC <mu_y, f> + c.

    Args:
        features: Shape (n, d), finite. Directions in which they do not vary get weight 0.
        logits: Shape (n, K), K >= 2, finite.

    Raises:
        UndefinedScoreError: If neither is linear in the features.
        ValueError: If a shape is wrong or a value is not finite.

    >>> linear_head([[0.0], [1.0], [2.0]], [[1.0, 0.0], [4.0, -1.0], [7.0, -2.0]]).weight.round(9)
    array([[ 3., -1.]])
    """
    inputs, outputs = finite_rows("features", features), finite_rows("logits", logits, columns=2)
    for wanted in (outputs, outputs - outputs.mean(axis=1, keepdims=True)):
        # Centred first: a common offset of the features would cost digits of W.
        centre, level = inputs.mean(axis=0), wanted.mean(axis=0)
        weight = np.linalg.lstsq(inputs - centre, wanted - level, rcond=1e-6)[0]
        head = Head(weight, level - centre @ weight)
        if np.abs(head(inputs) - wanted).max() <= _FITS * max(float(np.ptp(wanted)), np.finfo(np.float64).tiny):
            return head
    raise UndefinedScoreError("the logits are not linear in the features, and ViM needs a linear head")


def fit_vim(features: npt.ArrayLike, logits: npt.ArrayLike, dim: int | None = None) -> VirtualLogit:
    """Origin, principal space and alpha of ViM (Wang et al. 2022, section 4).

    The origin is o = -(W^T)^+ b. The principal space is spanned by the eigenvectors of the D largest eigenvalues of
    X^T X, where X = f - o, by `numpy.linalg.eigh`: the matrix is symmetric, and a general solver may return complex
    vectors. alpha is the mean of the largest logit divided by the mean residual norm.

    Args:
        features: Training features, shape (n, d), d >= 2, finite.
        logits: Their logits, shape (n, K), K >= 2, finite.
        dim: D, 1 … d - 1; None for d // 2.

    Raises:
        UndefinedScoreError: If the head is not linear, D is not below d, no residual is left, or the mean of the
            largest logit is not positive, so that the virtual logit would not grow with the residual.
        ValueError: If a shape is wrong or a value is not finite.

    >>> points = [[3.0, 0.1], [-3.0, 0.1], [3.0, -0.1], [-3.0, -0.1]]
    >>> train = fit_vim(points, [[x, -x] for x, _ in points])
    >>> round(train.alpha, 6)  # 3 / 0.1
    30.0
    """
    inputs = finite_rows("features", features)
    width = inputs.shape[1]
    kept = width // 2 if dim is None else dim
    if not 1 <= kept < width:
        raise UndefinedScoreError(f"a principal space of {kept} dimensions leaves no residual of {width} features")
    if len(inputs) < 2:
        raise UndefinedScoreError(f"{len(inputs)} training items with finite outputs")
    head = linear_head(inputs, logits)
    centred = inputs - head.origin
    _, vectors = np.linalg.eigh(centred.T @ centred)  # eigenvalues ascend
    residual = vectors[:, : width - kept]
    norm = float(np.linalg.norm(centred @ residual, axis=1).mean())
    if norm <= width * np.finfo(np.float32).eps * float(np.linalg.norm(centred, axis=1).mean()):
        raise UndefinedScoreError(f"the training features lie in {kept} dimensions: their residual is rounding error")
    level = float(head(inputs).max(axis=1).mean())
    if level <= 0:
        raise UndefinedScoreError(f"the mean of the largest training logit is {level:.3g}, not positive")
    return VirtualLogit(head, residual, level / norm)


def vim(features: npt.ArrayLike, train: VirtualLogit) -> npt.NDArray[np.float64]:
    """The log-sum-exp of the logits less alpha ||residual||_2: the order of one minus the softmax probability of the
    virtual logit (Wang et al. 2022, eq. 6 and 7).

    Args:
        features: Shape (n, d), finite.
        train: From `fit_vim`.

    Returns:
        Scores, shape (n,), higher = in-distribution.

    Raises:
        ValueError: If the shape is not (n, d), or a value is not finite.

    >>> points = [[3.0, 0.1], [-3.0, 0.1], [3.0, -0.1], [-3.0, -0.1]]
    >>> train = fit_vim(points, [[x, -x] for x, _ in points])
    >>> bool(vim([[3.0, 0.0]], train)[0] > vim([[3.0, 1.0]], train)[0])
    True
    """
    array = finite_rows("features", features)
    if array.shape[1] != len(train.residual):
        raise ValueError(f"features must have {len(train.residual)} columns, got {array.shape[1]}")
    residual = np.linalg.norm((array - train.head.origin) @ train.residual, axis=1)
    scores: npt.NDArray[np.float64] = np.logaddexp.reduce(train.head(array), axis=1) - train.alpha * residual
    return scores


class ViM(Score):
    """Log-sum-exp of the logits of a linear head, less the norm of the features outside of the principal space of the
    training features, scaled to the mean of the largest logit.

    The head is found by least squares from the training predictions. For GMMC its logits are those without
    -||f||^2 / 2, which all classes share.

    Attributes:
        dim: Dimensions D of the principal space; None for half of the features.
    """

    name: ClassVar[str] = "vim"
    label: ClassVar[str] = "ViM"
    summary: ClassVar[str] = "Energy less the scaled norm of the features outside of their principal space."
    source: ClassVar[str] = "Wang et al. 2022, arXiv:2203.10807, section 4"
    reads: ClassVar[tuple[str, ...]] = ("features", "logits")
    fitted: ClassVar[bool] = True

    dim: int | None = Field(None, ge=1)

    @property
    def definition(self) -> str:
        """The formula with origin and dimension."""
        dimensions = "half of the dimensions" if self.dim is None else f"{self.dim} dimensions"
        return (
            "logsumexp(W'f + b) - alpha ||residual of f - o||_2, f the penultimate features, linear head W, b by least "
            f"squares, origin o = -(W')^+ b, principal space of {dimensions} by eigh of training features, alpha = "
            "mean largest logit / mean residual norm of training items"
        )

    def fit(self, train: Arrays) -> VirtualLogit:
        """Head, principal space and alpha of the training predictions."""
        return fit_vim(train["features"], train["logits"], self.dim)

    def score(self, outputs: Arrays, fit: Any) -> npt.NDArray[np.float64]:
        """Energy less virtual logit; the logits are those of the head."""
        return vim(outputs["features"], fit)
