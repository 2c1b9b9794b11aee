"""The contract tests of plug-ins that ship with bench, for ``bench check-plugin`` and for the tests of a plug-in."""

from __future__ import annotations

from bench.conformance.check import Check, NonConformingError, checks

__all__ = ["Check", "NonConformingError", "checks"]
