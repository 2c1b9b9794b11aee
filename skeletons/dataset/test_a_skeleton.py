"""The contract of the data set, check by check."""

from __future__ import annotations

import pytest

from bench.conformance import Check, checks


@pytest.mark.parametrize("check", checks("a_skeleton:DATASET"), ids=str)
def test_contract(check: Check) -> None:
    check()
