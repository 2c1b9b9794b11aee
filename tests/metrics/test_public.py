"""The public names of ``bench.metrics``."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bench.metrics as metrics

PROMISED = (
    *("ece", "classwise_ece", "ks_error", "nll", "brier", "fit_temperature", "risk_coverage", "auroc"),
    *("average_precision", "fpr_at_tpr", "GaussianStats", "frechet_distance", "inception_score", "kernel_distance"),
    *("prdc", "wilson", "delong", "mcnemar", "holm"),
)


def test_every_name_can_be_imported() -> None:
    assert set(PROMISED) <= set(metrics.__all__)
    for name in metrics.__all__:
        assert callable(getattr(metrics, name)), name
        assert getattr(metrics, name).__module__.startswith("bench.metrics.")


def test_a_name_stays_a_function_after_every_module_was_imported() -> None:
    """A module of the same name would take its place."""
    code = (
        "import pkgutil, importlib, bench.metrics as m\n"
        "for one in pkgutil.iter_modules(m.__path__): importlib.import_module(f'bench.metrics.{one.name}')\n"
        "assert all(callable(getattr(m, name)) for name in m.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_package_loads_no_scipy() -> None:
    code = "import sys, bench.metrics; assert not any(name.startswith('scipy') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_other_names_are_unknown() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'acuracy'"):
        metrics.acuracy  # noqa: B018
