"""The store: one folder per job, and the record that a job leaves in it.

`folder` owns the files of a job and of the store, `records` their content.
"""

from __future__ import annotations

from bench.store.folder import HISTORY, ITEMS, JOURNAL, LOG, OUTPUTS, OWN_FILES, STATE, WEIGHTS, JobFolder, State, Store
from bench.store.records import Measured, Number, PlannedJob, Prediction, Provenance, Record, Training

__all__ = [
    "HISTORY",
    "ITEMS",
    "JOURNAL",
    "LOG",
    "OUTPUTS",
    "OWN_FILES",
    "STATE",
    "WEIGHTS",
    "JobFolder",
    "Measured",
    "Number",
    "PlannedJob",
    "Prediction",
    "Provenance",
    "Record",
    "State",
    "Store",
    "Training",
]
