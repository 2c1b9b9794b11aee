"""``bench schema``: what editors are told of suites is what the harness accepts."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator

from bench.cli.inspect import FILES
from bench.cli.main import cli
from bench.commands.schema import KINDS, schema
from bench.evaluate.base import EVALUATIONS
from bench.spec import FAMILIES, settings

if TYPE_CHECKING:
    from tests.conftest import Site

SUITES = Path(__file__).parents[2] / "suites"
COMMITTED = {"suite": SUITES / "schema.json", "profile": SUITES / "profile-schema.json"}
PROFILE = {"profile": {"name": "small"}}


def mistakes(kind: str, document: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft7Validator(schema(kind)).iter_errors(document)]


def document(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", COMMITTED)
def test_the_committed_schema_is_that_of_the_models(kind: str) -> None:
    printed = CliRunner().invoke(cli, ["schema", kind], catch_exceptions=False).stdout
    path = COMMITTED[kind].relative_to(SUITES.parent)
    assert COMMITTED[kind].read_text(encoding="utf-8") == printed, f"run: bench schema {kind} > {path}"


def test_the_command_knows_every_kind() -> None:
    assert FILES == KINDS
    assert json.loads(CliRunner().invoke(cli, ["schema"]).stdout) == schema("suite")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_schema(kind: str) -> None:
    Draft7Validator.check_schema(schema(kind))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        *(("suite", path) for path in sorted(SUITES.glob("*.toml"))),
        *(("profile", path) for path in sorted(SUITES.glob("profiles/*.toml"))),
        ("settings", SUITES.parent / "bench.toml"),
    ],
    ids=lambda value: getattr(value, "stem", value),
)
def test_what_is_shipped_is_valid_and_names_its_schema(kind: str, path: Path) -> None:
    assert mistakes(kind, document(path)) == []
    if kind in COMMITTED:
        directive, _, named = path.read_text(encoding="utf-8").splitlines()[0].partition(" ")
        assert directive == "#:schema"
        assert (path.parent / named).resolve() == COMMITTED[kind]


def test_a_small_suite_is_valid(tiny: str) -> None:
    assert mistakes("suite", tomllib.loads(tiny)) == []


MISTAKES: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown section": lambda suite: suite.update(tables=[]),
    "no models": lambda suite: suite.pop("model"),
    "unknown key of a section": lambda suite: suite["data"].update(sead=1),
    "unknown family": lambda suite: suite["model"][0].update(family="softmx"),
    "no family": lambda suite: suite["model"][0].pop("family"),
    "no backbone": lambda suite: suite["model"][0].pop("backbone"),
    "unknown key of a family": lambda suite: suite["model"][0].update(epochz=3),
    "key of another family": lambda suite: suite["model"][0].update(sampler={"steps": 3}),
    "unknown key below": lambda suite: suite["model"][1]["sampler"].update(step=3),
    "text for a number": lambda suite: suite["model"][0].update(lr="1e-4"),
    "number beyond its range": lambda suite: suite["model"][0].update(epochs=0),
    "preset of another family": lambda suite: suite["model"][0].update(preset="papr"),
    "value for a list": lambda suite: suite["model"][0].update(seeds=1),
    "unknown evaluation": lambda suite: suite["evaluation"][0].update(kind="acuracy"),
    "unknown key of an evaluation": lambda suite: suite["evaluation"][3].update(stpes=3),
    "required key missing": lambda suite: suite["evaluation"][3].pop("eps"),
    "unknown loss": lambda suite: suite["evaluation"][3].update(losses=["ce", "marign"]),
    "temperature without a number": lambda suite: suite["evaluation"][3].update(losses=["ce@x"]),
    "unknown score": lambda suite: suite["evaluation"][2].update(scores=["density"]),
    "table without columns": lambda suite: suite["table"][0].update(columns=[]),
    "name that no file can have": lambda suite: suite["suite"].update(name="My suite"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen(tiny: str, mistake: str) -> None:
    suite = copy.deepcopy(tomllib.loads(tiny))
    MISTAKES[mistake](suite)
    assert mistakes("suite", suite)


@pytest.mark.parametrize("losses", [["ce", "ce@20", "ce@0.5"], ["margin-targeted", "distance"]])
def test_every_way_to_write_a_loss(tiny: str, losses: list[str]) -> None:
    suite = tomllib.loads(tiny)
    suite["evaluation"][3]["losses"] = losses
    assert mistakes("suite", suite) == []


@pytest.mark.parametrize(
    ("section", "right", "wrong"),
    [
        ("model", {"epochs": 3, "sampler": {"steps": 3, "gamma": 0.1}}, {"epochs": "3"}),
        ("model", {"backbone": ["wrn-10-1", "wrn-10-2"]}, {"backbone": 10}),
        ("model", {"jem": {"sampler": {"steps": 5}}}, {"jem": {"sampler": {"gamma": 0.1}}}),
        ("model", {"a.module:SPEC": {"anything": 1}}, {"jemm": {"epochs": 1}}),
        ("evaluation", {"pgd": {"steps": 5, "losses": ["ce"]}}, {"pgd": {"losses": ["xe"]}}),
        ("evaluation", {"a.module:ONE": {"anything": 1}}, {"pdg": {"steps": 5}}),
        ("substitute", {"data": {"svhn": "digits"}, "ood": {"svhn": ["patches", "uniform"]}}, {"ood": {"svhn": 1}}),
        ("caps", {"items": 10}, {"items": 0}),
        ("data", {"validation": 100}, {"validaton": 100}),
    ],
)
def test_profiles(section: str, right: dict[str, Any], wrong: dict[str, Any]) -> None:
    assert mistakes("profile", {**PROFILE, section: right}) == []
    assert mistakes("profile", {**PROFILE, section: wrong})


def test_every_parameter_comes_with_its_description_and_default() -> None:
    found = schema("suite")["properties"]
    entries = {
        entry["properties"][key]["const"]: entry["properties"]
        for section, key in (("model", "family"), ("evaluation", "kind"))
        for entry in found[section]["items"]["oneOf"]
        if "const" in entry["properties"][key]
    }
    assert set(entries) == {*FAMILIES.names(), *EVALUATIONS.names()}
    for name, schemas in ((name, FAMILIES.get(name).config) for name in FAMILIES.names()):
        assert set(schemas.model_fields) <= set(entries[name])
    assert entries["jem"]["px_weight"]["default"] == 1.0
    assert entries["gmmc-gen"]["sampler"]["properties"]["steps"]["description"].startswith("tau, steps for each batch")
    assert "(paper: 1e-4)" in entries["softmax"]["lr"]["description"]
    assert entries["pgd"]["iterate"]["enum"] == ["final", "any"]
    assert "svhn" in entries["ood"]["sets"]["items"]["examples"]
    assert "null" not in json.dumps(found)


def test_a_nested_table_has_the_defaults_of_its_family() -> None:
    """Not those of its class: MMC's optimiser is SGD."""
    tables = {
        one["properties"]["family"].get("const"): one
        for one in schema("suite")["properties"]["model"]["items"]["oneOf"]
    }
    found = {
        name: {key: one["default"] for key, one in tables[name]["properties"]["optimizer"]["properties"].items()}
        for name in ("softmax", "mmc")
    }
    for name, values in found.items():
        config = FAMILIES.get(name).config.model_validate({"optimizer": {**values, "betas": tuple(values["betas"])}})
        assert config == FAMILIES.get(name).config()
        told = {one.key: one.default for one in settings(FAMILIES.get(name).config)}
        assert told["optimizer.kind"] == values["kind"]
    assert (found["softmax"]["kind"], found["mmc"]["kind"]) == ("adam", "sgd")


def test_plugins_of_others_are_in_it(site: Site, tiny: str) -> None:
    """One that says its parameters, and one with a type that JSON Schema has no word for."""
    site.module(
        "strange",
        """
        from bench.evaluate.base import Column, Evaluation, EvaluationConfig

        class Open: ...

        class Said(EvaluationConfig):
            sides: int = 3

        class Unsaid(EvaluationConfig):
            model_config = {"arbitrary_types_allowed": True}
            what: Open | None = None

        def evaluation(given, Schema):
            class Strange(Evaluation):
                name, summary, source, Config = given, "A strange one.", "nowhere", Schema
                def columns(self, config):
                    return (Column(metric="x", label="x", unit="1", direction=None, definition="x", primary=True),)
                def evaluate(self, config, inputs): ...
            return Strange()

        SAID, UNSAID = evaluation("said", Said), evaluation("unsaid", Unsaid)
        """,
    )
    site.distribution("strange", "bench.evaluations", {"said": "strange:SAID", "unsaid": "strange:UNSAID"})
    suite = tomllib.loads(tiny)
    suite["evaluation"] += [{"kind": "said", "sides": 4}, {"kind": "unsaid", "what": 1}, {"kind": "other:ONE", "x": 1}]
    assert mistakes("suite", suite) == []
    suite["evaluation"][-3]["sides"] = "four"
    assert mistakes("suite", suite)
