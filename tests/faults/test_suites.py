"""Suites, profiles and settings that somebody got wrong: whatever stands in them, ``check`` says so in words.

Each case starts from a shipped suite and profile and changes keys, values, types, structure or bytes. A case is a
function of its number, so that a failure can be repeated.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.api import Bench
from bench.errors import BenchError
from tests.conftest import Project

ROOT = Path(__file__).parents[2]
SUITES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "suites").glob("*.toml"))]
PROFILES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "suites" / "profiles").glob("*.toml"))]
SETTINGS = '[paths]\nresults = "results"\n[run]\ndefault_suite = "mutated"\n'

ODD: list[Any] = [
    *(0, 1, -1, 2, 3, 255, 10**6, 2**31, 2**62, 2**63 - 1, -(2**63), 10**30),
    *(0.0, 1.0, -0.5, 1e-300, 1e300, float("inf"), float("nan"), True, False),
    *("", " ", "x", "digits", "softmax", "module", "none", "wrn-10-1", "wrn-16-1-batch", "eps/30", "8/255", "1/0"),
    *(
        "../..",
        "/",
        "/dev/zero",
        "a.npz",
        "suites",
        "x" * 300,
        "x" * 5000,
        "\x1b[31m",
        "[/bold]",
        "a\nb",
        "é",
        "\u202e",
    ),
    *("bench.spec:FAMILIES", "os:system", ":", "a:b:c", "nowhere:nothing", "bench.weights.module_spec:MODULE"),
    *("test", "validation", "fitted", "train", "predict", "ce@T", "ce@0", "next-random", "fresh"),
    *([], [[]], [1, 1], ["a", 1], [0.5], {}, {"a": {}}, {"steps": 1}, [{}], [{"kind": "accuracy"}]),
]
"""Values that are wrong in most places, and right in some."""


def written(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, str) else repr(value)


def document(data: dict[str, Any]) -> str:
    """A document with one line for each key below a header."""
    lines = []
    for name, value in data.items():
        tables = value if isinstance(value, list) and value and all(isinstance(v, dict) for v in value) else None
        if tables is not None or isinstance(value, dict):
            for table in tables or [value]:
                lines.append(f"[[{json.dumps(name)}]]" if tables is not None else f"[{json.dumps(name)}]")
                lines += [f"{json.dumps(key)} = {written(item)}" for key, item in table.items()]
        else:
            lines.insert(0, f"{json.dumps(name)} = {written(value)}")
    return "\n".join(lines) + "\n"


def containers(value: Any) -> Iterator[Any]:
    """Every table and list, the outermost first."""
    if isinstance(value, dict | list):
        yield value
        for item in value.values() if isinstance(value, dict) else value:
            yield from containers(item)


def changed_value(rng: random.Random, data: dict[str, Any]) -> None:
    place = rng.choice([one for one in containers(data) if one])
    key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
    old = place[key]
    if isinstance(old, int) and rng.random() < 0.5:
        place[key] = old * rng.choice((-1, 0, 1000)) + rng.choice((-1, 0, 1))
    elif isinstance(old, str) and rng.random() < 0.3:
        at = rng.randrange(len(old) + 1)
        place[key] = old[:at] + rng.choice(("", "x", "@", ".", "/", " ", "9")) + old[at + 1 :]
    else:
        place[key] = rng.choice(ODD)


def changed_key(rng: random.Random, data: dict[str, Any]) -> None:
    tables = [one for one in containers(data) if isinstance(one, dict) and one]
    place, other = rng.choice(tables), rng.choice(tables)
    key = rng.choice(list(place))
    way = rng.randrange(4)
    if way == 0:
        del place[key]
    elif way == 1:
        place[key[:-1] + rng.choice("xyz_")] = place.pop(key)
    elif way == 2:
        other[key] = copy.deepcopy(place[key]) if other is not place else rng.choice(ODD)
    else:
        place[rng.choice(("", "a.b", "\x1b[1m", "é", "x" * 3000, "family", "weights", "init_from"))] = rng.choice(ODD)
    if any(len(json.dumps(one, default=str)) > 200_000 for one in (place, other)):
        other.clear()


def changed_structure(rng: random.Random, data: dict[str, Any]) -> None:
    lists = [one for one in containers(data) if isinstance(one, list) and one]
    place = rng.choice(lists)
    item = rng.choice(place)
    way = rng.randrange(5)
    if way == 0:
        place.append(json.loads(json.dumps(item)))
    elif way == 1:
        place.clear()
    elif way == 2:
        place.reverse()
    elif way == 3:
        place[place.index(item)] = [json.loads(json.dumps(item))]
    else:
        section = rng.choice(list(data))
        data[section] = rng.choice((data[section], [data[section]], "x", 1, [], {}, [1]))


def changed_bytes(rng: random.Random, content: bytes) -> bytes:
    found = bytearray(content or b"#")
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(max(1, len(found)))
        way = rng.randrange(4)
        if way == 0:
            found[at : at + 1] = bytes([rng.randrange(256)])
        elif way == 1:
            del found[at : at + rng.choice((1, 1, 20))]
        elif way == 2:
            found[at:at] = rng.choice(
                (b"[", b"]]", b'"', b"'''", b"=", b"\0", b"\r", b"\xef\xbb\xbf", b"{", b"#", b"9" * 40)
            )
        else:
            found[at:at] = found[at : at + rng.choice((5, 200))]
    return bytes(found)


def mutated(rng: random.Random, text: str) -> bytes:
    """A text with one to three changes of the values that it holds, then perhaps of its bytes."""
    data = tomllib.loads(text)
    changes: list[Callable[[random.Random, dict[str, Any]], None]] = [changed_value, changed_key, changed_structure]
    for _ in range(rng.choice((1, 1, 2, 3))):
        with contextlib.suppress(IndexError):  # nothing of the kind is left
            rng.choice(changes)(rng, data)
    content = document(data).encode("utf-8", "surrogatepass") if rng.random() < 0.85 else text.encode()
    return changed_bytes(rng, content) if rng.random() < 0.25 else content


def tried(project: Project, number: int) -> str:
    """Checks one case; what it was refused for, or ""."""
    rng = random.Random(number)
    suite, profile = rng.choice(SUITES), rng.choice(PROFILES)
    victim = rng.choice(("suite", "suite", "suite", "profile", "both", "settings"))
    files = {
        "suites/mutated.toml": mutated(rng, suite) if victim in ("suite", "both") else suite.encode(),
        "suites/profiles/mutated.toml": mutated(rng, profile) if victim in ("profile", "both") else profile.encode(),
        "bench.toml": mutated(rng, SETTINGS) if victim == "settings" else SETTINGS.encode(),
    }
    for name, content in files.items():
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        (project.root / name).write_bytes(content)
    overlay = "mutated" if victim in ("profile", "both") or rng.random() < 0.5 else None
    try:
        # What `bench check` calls; the command adds the printing.
        Bench.here(project.root).plan("mutated", profile=overlay)
    except BenchError as found:
        error: BenchError = found
    except Exception as found:
        raise AssertionError(f"case {number} ends in {type(found).__name__}: {found}") from found
    else:
        return ""
    assert error.exit_code in (2, 5), f"case {number}"
    assert str(error), f"case {number}"
    assert not re.search(r"[\x00-\x08\x0e-\x1f]", str(error)), f"case {number}: {str(error)!r}"
    return str(error)


def refused(project: Project, numbers: range) -> int:
    return sum(tried(project, number) != "" for number in numbers)


def test_no_mutated_suite_ends_in_a_traceback(project: Project) -> None:
    found = refused(project, range(200))
    assert 100 < found < 200  # most changes are mistakes; some are another suite


@pytest.mark.slow
def test_no_one_of_ten_thousand_mutated_suites_ends_in_a_traceback(project: Project) -> None:
    assert 3_000 < refused(project, range(10_000)) < 10_000
