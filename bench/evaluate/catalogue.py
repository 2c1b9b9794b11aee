"""The evaluations that the harness brings."""

from __future__ import annotations

from bench.evaluate.accuracy import Accuracy
from bench.evaluate.base import Evaluation
from bench.evaluate.calibration import Calibration
from bench.evaluate.cw import CW
from bench.evaluate.generation import Generation
from bench.evaluate.inception import FID
from bench.evaluate.ood import OOD
from bench.evaluate.pgd import PGD

__all__ = ["EVALUATIONS"]

EVALUATIONS: tuple[Evaluation, ...] = (Accuracy(), Calibration(), OOD(), PGD(), CW(), Generation(), FID())
