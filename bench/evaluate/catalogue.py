"""The evaluations that the harness brings."""

from __future__ import annotations

from bench.evaluate.accuracy import Accuracy
from bench.evaluate.adaptive import Adaptive
from bench.evaluate.attack import NamedAttack
from bench.evaluate.base import Evaluation
from bench.evaluate.calibration import Calibration
from bench.evaluate.cw import CW
from bench.evaluate.cw_l2 import CWL2
from bench.evaluate.energies import Energies
from bench.evaluate.eps_sweep import EpsSweep
from bench.evaluate.generation import Generation
from bench.evaluate.inception import FID
from bench.evaluate.ood import OOD
from bench.evaluate.pgd import PGD
from bench.evaluate.transfer import Transfer

__all__ = ["EVALUATIONS"]

EVALUATIONS: tuple[Evaluation, ...] = (
    Accuracy(),
    Calibration(),
    OOD(),
    PGD(),
    Adaptive(),
    EpsSweep(),
    Transfer(),
    NamedAttack(),
    CW(),
    CWL2(),
    Generation(),
    FID(),
    Energies(),
)
