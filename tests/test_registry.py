from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bench.cli.main import cli
from bench.registry import Registry, UnknownNameError, import_object
from bench.spec import FAMILIES

if TYPE_CHECKING:
    from tests.conftest import Project, Site

GROUP = "bench.test-things"


@dataclass(frozen=True)
class Thing:
    name: str


BUILTIN = Thing("builtin")


def things(**options: object) -> Registry[Thing]:
    return Registry("thing", "things", Thing, GROUP, builtin=lambda: (BUILTIN,), **options)  # type: ignore[arg-type]


def stranger(site: Site, module: str, body: str, points: dict[str, str], distribution: str = "stranger") -> None:
    site.module(module, f"import types\nfrom bench.spec import FamilySpec\n{body}\n")
    site.distribution(distribution, GROUP, points)


def test_builtins_and_entry_points_arrive_together(site: Site) -> None:
    site.module("zoo", "from tests_thing import Thing\nCAT = Thing('cat')\nANT = Thing('ant')\n")
    site.module("tests_thing", "")
    import tests_thing  # type: ignore[import-not-found]

    tests_thing.Thing = Thing
    site.distribution("zoo-plugin", GROUP, {"cat": "zoo:CAT", "ant": "zoo:ANT"})
    registry = things()
    assert registry.names() == ["ant", "builtin", "cat"]
    assert registry.get("cat") == Thing("cat")
    assert [entry.origin for entry in registry.entries()] == ["zoo-plugin", "bench", "zoo-plugin"]
    assert list(registry.values()) == [Thing("ant"), BUILTIN, Thing("cat")]


@pytest.mark.parametrize(
    ("module", "point", "error"),
    [
        ("X = 3", "x = broken:X", "broken:X is a int, expected a Thing"),
        ("1 / 0", "x = broken:X", r"ZeroDivisionError: division by zero \(broken:X\)"),
        ("import absent_dependency", "x = broken:X", "No module named 'absent_dependency'"),
        ("raise SystemExit(3)", "x = broken:X", "SystemExit"),
        ("", "x = broken:X", "has no attribute 'X'"),
        ("syntax error", "x = broken:X", "SyntaxError"),
    ],
)
def test_a_broken_plug_in_is_shown_and_breaks_nothing_else(site: Site, module: str, point: str, error: str) -> None:
    site.module("broken", module)
    name, _, value = point.partition(" = ")
    site.distribution("some-plugin", GROUP, {name: value})
    registry = things()
    builtin, broken = registry.entries()
    assert builtin.value == BUILTIN
    assert (broken.name, broken.origin, broken.value) == ("x", "some-plugin", None)
    assert registry.names() == ["builtin"]
    assert registry.get("builtin") is BUILTIN
    with pytest.raises(UnknownNameError, match=rf"^thing 'x' from some-plugin cannot be used: .*{error}"):
        registry.get("x")


def test_the_name_of_the_entry_point_is_that_of_the_thing(site: Site) -> None:
    site.module("renamed", "import test_registry_thing\nX = test_registry_thing.make('other')\n")
    site.module("test_registry_thing", "make = None\n")
    import test_registry_thing  # type: ignore[import-not-found]

    test_registry_thing.make = Thing
    site.distribution("some-plugin", GROUP, {"x": "renamed:X"})
    with pytest.raises(UnknownNameError, match="calls itself 'other' but is registered as 'x'"):
        things().get("x")


def test_a_name_that_two_claim_belongs_to_neither(site: Site) -> None:
    site.module("one", "import shared_thing\nX = shared_thing.make('x')\nB = shared_thing.make('builtin')\n")
    site.module("shared_thing", "make = None\n")
    import shared_thing  # type: ignore[import-not-found]

    shared_thing.make = Thing
    site.distribution("first", GROUP, {"x": "one:X"})
    site.distribution("second", GROUP, {"x": "one:X", "builtin": "one:B"})
    registry = things()
    entries = {entry.name: entry for entry in registry.entries()}
    assert entries["x"].value is None
    assert registry.names() == []
    with pytest.raises(
        UnknownNameError, match=r"the name is registered twice, by (first and by second|second and by first)"
    ):
        registry.get("x")
    with pytest.raises(UnknownNameError, match="registered twice, by bench and by second"):
        registry.get("builtin")


def test_near_misses_are_suggested() -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown thing 'bultin'; did you mean 'builtin'\?$") as error:
        things().get("bultin")
    assert (error.value.kind, error.value.name, error.value.exit_code) == ("thing", "bultin", 2)


def test_patterns_match_only_what_they_fit() -> None:
    registry = things(match=lambda thing, name: Thing(name) if name.startswith(f"{thing.name}-") else None)
    assert registry.get("builtin-7") == Thing("builtin-7")
    assert registry.get("builtin") is BUILTIN
    with pytest.raises(UnknownNameError, match="unknown thing 'other-7'"):
        registry.get("other-7")


def test_module_and_attribute_name_what_is_not_registered(site: Site) -> None:
    site.module("mine.specs", "import loose_thing\nMINE = loose_thing.make('mine')\nNUMBER = 3\n")
    site.module("mine.__init__", "")
    site.module("mine.bad", "raise RuntimeError('half installed')\n")
    site.module("loose_thing", "make = None\n")
    import loose_thing  # type: ignore[import-not-found]

    loose_thing.make = Thing
    registry = things()
    assert registry.get("mine.specs:MINE") == Thing("mine")
    assert registry.names() == ["builtin"]
    for name, reason in (
        ("mine.specs:NUMBER", "is a int, expected a Thing"),
        ("mine.specs:ABSENT", "has no attribute 'ABSENT'"),
        ("mine.absent:X", "No module named 'mine.absent'"),
        ("mine.bad:X", "RuntimeError: half installed"),
        ("mine.specs:", "is not of the form 'package.module:attribute'"),
    ):
        with pytest.raises(UnknownNameError, match=reason):
            registry.get(name)


def test_import_object() -> None:
    assert import_object("bench.registry:import_object") is import_object
    with pytest.raises(ValueError, match="not of the form"):
        import_object("bench.registry")


def test_our_families_arrive_by_entry_points_alone(site: Site) -> None:
    origins = {entry.name: entry.origin for entry in FAMILIES.entries()}
    ours = ("softmax", "jem", "gmmc-dis", "gmmc-gen", "gmmc-joint", "mmc", "igebm", "igebm-conditional")
    assert [origins.get(name) for name in ours] == ["gmmc-bench"] * len(ours)
    assert not {spec.name for spec in FAMILIES.builtin()}.intersection(ours)


def test_the_command_line_survives_a_broken_plug_in(project: Project, site: Site) -> None:
    site.module("bad_family", "import a_package_that_is_not_there\n")
    site.distribution("bad-families", "bench.families", {"bad": "bad_family:SPEC"})
    runner = CliRunner()
    listed = runner.invoke(cli, ["list", "families"])
    assert listed.exit_code == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("bad ")]
    assert "BROKEN: ModuleNotFoundError: No module named 'a_package_that_is_not_there'" in line
    assert line.endswith("[bad-families]")
    assert any(line.startswith("gmmc-gen ") for line in listed.stdout.splitlines())
    assert runner.invoke(cli, ["check", str(project.suite())]).exit_code == 0
    described = runner.invoke(cli, ["describe", "bad"])
    assert described.exit_code == 2
    assert "family 'bad' from bad-families cannot be used" in described.stderr
