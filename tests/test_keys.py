from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.keys import canonical, digest, source_digest
from bench.rng import derive_seed

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)

SOURCE = '''\
"""Module."""

import math


class Thing:
    """Class."""

    def area(self, r):
        """Method."""
        # why
        return math.pi * r * r
'''


def reordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reordered(child) for key, child in reversed(value.items())}
    return [reordered(child) for child in value] if isinstance(value, list) else value


@given(JSON)
def test_the_order_of_a_mapping_does_not_count(value: Any) -> None:
    assert canonical(reordered(value)) == canonical(value)
    assert digest(reordered(value)) == digest(value)


@given(JSON, JSON)
def test_different_content_has_different_text(one: Any, other: Any) -> None:
    assert (canonical(one) == canonical(other)) == (repr_json(one) == repr_json(other))


def repr_json(value: Any) -> Any:
    """Content as JSON sees it: 1, 1.0 and true differ."""
    if isinstance(value, dict):
        return {key: repr_json(child) for key, child in value.items()}
    return [repr_json(child) for child in value] if isinstance(value, list) else (type(value), repr(value))


def test_the_order_of_a_list_counts() -> None:
    assert digest([1, 2]) != digest([2, 1])


def test_what_is_no_json_is_refused() -> None:
    for value in (math.nan, math.inf, {1, 2}, object()):
        with pytest.raises((ValueError, TypeError)):
            digest({"x": value})


def test_digests_are_the_same_in_every_process() -> None:
    value = {"b": [1, 2.5, None, "é"], "a": {"y": True, "x": -0.0}}
    code = (
        "from bench.keys import digest; from bench.rng import derive_seed; "
        f"print(digest({value!r}), derive_seed(3, 'a', 1))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "1")
    }
    assert seen == {f"{digest(value)} {derive_seed(3, 'a', 1)}"}


def test_digest_is_sha256_of_the_canonical_json() -> None:
    """An anchor: whoever changes it makes every stored result unreachable."""
    assert canonical({"b": 1, "a": ["é", 0.5]}) == '{"a":["é",0.5],"b":1}'
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc2"


@given(st.integers(0, 2**32), st.lists(st.text(max_size=3) | st.integers(0, 99), max_size=3))
def test_derived_seeds_fit_a_generator(seed: int, names: list[str | int]) -> None:
    assert 0 <= derive_seed(seed, *names) < 2**63


def test_derived_seeds_are_different_for_each_purpose_seed_and_index() -> None:
    seeds = [derive_seed(seed, name, index) for seed in range(5) for name in ("a", "b", "1") for index in range(5)]
    assert len(set(seeds)) == len(seeds)
    assert derive_seed(0, "a", 1) != derive_seed(0, "a", "1")
    assert derive_seed(0, "ab") != derive_seed(0, "a", "b")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "thing.py"
    path.write_text(SOURCE, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why", "# a better reason\n        # in two lines"),
        ('"""Module."""', ""),
        ('"""Class."""', '"""Another\n\n    class.\n    """'),
        ('        """Method."""\n', ""),
        ("math.pi * r * r", "(math.pi\n            * r * r)"),
        ("\n\nclass", "\n\n\n\nclass"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(source: Path, old: str, new: str) -> None:
    before = source_digest(source)
    assert old in SOURCE
    source.write_text(SOURCE.replace(old, new, 1), encoding="utf-8")
    assert source_digest(source) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("r * r", "r * r * r"), ("math.pi", "3.14"), ("self, r", "self, r=1"), ("Thing:", "Thing(object):")],
)
def test_what_a_file_does_counts(source: Path, old: str, new: str) -> None:
    before = source_digest(source)
    assert old in SOURCE
    source.write_text(SOURCE.replace(old, new, 1), encoding="utf-8")
    assert source_digest(source) != before


def test_a_string_that_is_no_docstring_counts(source: Path) -> None:
    source.write_text("x = 'a'\n", encoding="utf-8")
    before = source_digest(source)
    source.write_text("x = 'b'\n", encoding="utf-8")
    assert source_digest(source) != before


def test_a_body_of_nothing_but_a_docstring(source: Path) -> None:
    source.write_text('def f():\n    """Nothing."""\n', encoding="utf-8")
    documented = source_digest(source)
    source.write_text("def f():\n    pass\n", encoding="utf-8")
    assert source_digest(source) == documented
