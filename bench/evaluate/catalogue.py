"""The built-in evaluations."""

from __future__ import annotations

from bench.evaluate.accuracy import Accuracy
from bench.evaluate.base import Evaluation
from bench.evaluate.calibration import Calibration
from bench.evaluate.corruption import Corruption
from bench.evaluate.energies import Energies
from bench.evaluate.generation import Generation
from bench.evaluate.inception import FID
from bench.evaluate.likelihood import Likelihood
from bench.evaluate.ood import OOD
from bench.evaluate.robust.adaptive import Adaptive
from bench.evaluate.robust.attack import NamedAttack
from bench.evaluate.robust.autoattack import AutoAttack
from bench.evaluate.robust.cw import CW, CWL2
from bench.evaluate.robust.eps_sweep import EpsSweep
from bench.evaluate.robust.pgd import PGD
from bench.evaluate.robust.transfer import Transfer

__all__ = ["EVALUATIONS"]

EVALUATIONS: tuple[Evaluation, ...] = (
    Accuracy(),
    Calibration(),
    OOD(),
    PGD(),
    Adaptive(),
    AutoAttack(),
    EpsSweep(),
    Transfer(),
    NamedAttack(),
    CW(),
    CWL2(),
    Corruption(),
    Generation(),
    FID(),
    Likelihood(),
    Energies(),
)
