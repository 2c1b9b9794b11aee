"""References to objects are checked by reading source: nothing is imported."""

from __future__ import annotations

import sys
import zlib

import pytest

from bench.plugins.locating import find_module, missing_reference
from tests.conftest import Site


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("def made(): pass", False),
        ("class made: pass", False),
        ("import json as made", False),
        ("from json import *", False),
        ("if True:\n    made = 1", False),
        ("def __getattr__(name): ...", False),
        ("globals()['made'] = 1", False),
        ("def bind():\n    globals()['made'] = 1\nbind()", False),
        ("def bind():\n    global made\n    made = 1\nbind()", False),
        ("not python at all", False),
        ("other = 1", True),
        ("def other():\n    made = 1", True),
        ("class Other:\n    made = 1", True),
    ],
)
def test_a_missing_name_is_known_from_the_source(site: Site, source: str, missing: bool) -> None:
    name = f"bound_{zlib.crc32(source.encode())}"  # answers are remembered by reference
    site.module(name, f"{source}\n")
    assert missing_reference(f"{name}:made.part") == (
        f"'{name}:made.part': module '{name}' has no 'made'" if missing else ""
    )
    assert name not in sys.modules


def test_a_missing_module_is_named() -> None:
    assert missing_reference("json.nothing:made") == (
        "'json.nothing:made' cannot be imported: there is no module 'json.nothing'"
    )
    assert missing_reference("json") == "'json' is not of the form 'package.module:attribute'"


def test_modules_in_folders_without_an_init_are_found_without_an_import(site: Site) -> None:
    site.module("plain_folder.inner.last", "made = 1\n")
    found = find_module("plain_folder.inner.last")
    assert found is not None
    assert str(found.origin).endswith("last.py")
    assert find_module("plain_folder.inner.first") is None
    assert "plain_folder" not in sys.modules
