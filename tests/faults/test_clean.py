"""``bench clean`` deletes what nothing refers to, and never what it cannot be sure of."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from bench.api import Bench
from bench.commands.clean import Leftover, remove, unreferenced
from bench.errors import BenchError
from bench.runs import announced, running_commands
from tests.faults.conftest import SUITE, Small

OTHER = SUITE.replace('name = "small"', 'name = "other"').replace("epochs", "epochs")


def leftovers(bench: Bench) -> list[Leftover]:
    return unreferenced(bench, ())


def unknown_to_all(small: Small) -> None:
    """The suite goes: nothing in suites/ refers to its results any more."""
    shutil.move(small.suite, small.root / "small.toml")


def test_nothing_is_left_over_while_a_suite_refers_to_it(copy: Small) -> None:
    assert leftovers(copy.bench) == []


def test_results_of_a_suite_elsewhere_are_kept_while_it_was_run_last(copy: Small) -> None:
    unknown_to_all(copy)
    copy.bench.run(copy.root / "small.toml", profile="tiny", device="cpu", in_process=True)
    assert leftovers(copy.bench) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"suite": 3}', b"{}", b"[" * 20_000])
def test_what_cannot_be_read_is_an_error_and_deletes_nothing(copy: Small, content: bytes) -> None:
    unknown_to_all(copy)
    (copy.root / "results" / "last.json").write_bytes(content)
    before = sorted(path for path in copy.store.rglob("*"))
    answer = copy.command("clean", "--yes")
    assert answer.returncode in (1, 2, 5), answer.stdout
    assert "last.json" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert sorted(path for path in copy.store.rglob("*")) == before


def test_a_suite_that_cannot_be_read_is_an_error(copy: Small) -> None:
    copy.suite.write_text("[suite\n")
    with pytest.raises(BenchError, match=r"small\.toml"):
        leftovers(copy.bench)


def test_a_profile_that_the_last_suite_refuses_is_no_error(copy: Small) -> None:
    profile = copy.root / "suites" / "profiles" / "odd.toml"
    profile.write_text('[profile]\nname = "odd"\n[substitute.data]\ndigits = "patches"\n')
    with pytest.raises(BenchError):
        copy.bench.plan(copy.suite, profile="odd")
    assert leftovers(copy.bench) == []


def test_what_a_command_is_at_work_on_stays(copy: Small) -> None:
    """Also where another suite was run since, so that nothing else refers to it."""
    plan = copy.bench.plan(copy.suite, profile="tiny")
    unknown_to_all(copy)
    (copy.root / "results" / "last.json").unlink()
    whole = leftovers(copy.bench)
    done = plan.keys - {job.key for job in plan.jobs if job.blocked}
    assert {item.folder.key for item in whole} == done
    with announced(copy.root / "results", sorted(done)[:4]):
        assert {item.folder.key for item in leftovers(copy.bench)} == set(sorted(done)[4:])
        # Between the list and the deletion a command has begun: what it refers to stays.
        assert {item.folder.key for item in remove(copy.bench, whole)} == set(sorted(done)[4:])
    assert {item.folder.key for item in remove(copy.bench, leftovers(copy.bench))} == set(sorted(done)[:4])


def test_what_is_younger_than_a_command_at_work_stays(copy: Small) -> None:
    unknown_to_all(copy)
    (copy.root / "results" / "last.json").unlink()
    with announced(copy.root / "results", []):
        assert leftovers(copy.bench) != []
        time.sleep(0.02)
        for folder in copy.bench.store.folders():
            folder.file("log.txt").write_text("at work on it")
        assert leftovers(copy.bench) == []


def test_a_command_that_does_not_say_what_it_does_protects_everything(copy: Small) -> None:
    unknown_to_all(copy)
    (copy.root / "results" / "last.json").unlink()
    with announced(copy.root / "results", []):
        (path,) = (copy.root / "results" / "running").glob("*.json")
        path.write_text("{")
        with pytest.raises(BenchError, match="try again"):
            leftovers(copy.bench)


def test_commands_at_work_are_those_that_hold_their_lock(copy: Small) -> None:
    results = copy.root / "results"
    (results / "running").mkdir(exist_ok=True)
    (results / "running" / "1-dead.json").write_text(json.dumps({"pid": 1, "began": 0.0, "keys": ["a"]}))
    assert running_commands(results) == []
    assert list((results / "running").iterdir()) == []
    with announced(results, ["b", "a", "b"]):
        (command,) = running_commands(results)
        assert command.keys == {"a", "b"}
        assert 0 <= time.time() - command.began < 60
    assert running_commands(results) == []


def test_results_of_suites_elsewhere_are_kept_as_long_as_their_files_are_there(copy: Small) -> None:
    """Also where another suite was run since; when the file goes, nothing refers to them any more."""
    unknown_to_all(copy)
    elsewhere = copy.root / "small.toml"
    here = copy.bench
    here.run(elsewhere, profile="tiny", device="cpu", in_process=True)
    other = copy.root / "suites" / "other.toml"
    other.write_text(SUITE.replace('name = "small"', 'name = "other"'))
    here.run(other, profile="tiny", device="cpu", in_process=True, only=["softmax/*/accuracy"])
    other.write_text(other.read_text().replace('backbone = "wrn-10-1"', 'backbone = "wrn-10-2"'))
    assert leftovers(here) == []
    elsewhere.unlink()
    (copy.root / "results" / "runs" / "other@tiny" / "plan.json").unlink()
    assert leftovers(here) != []


def test_features_that_evaluations_share_stay_as_long_as_the_evaluations(copy: Small) -> None:
    """They belong to no job: the plan tells which suite needs them, also of a suite elsewhere that was run here."""
    plan = copy.bench.plan(copy.suite, profile="tiny")
    shared = plan.keys - {job.key for job in plan.jobs}
    stored = {folder.key for folder in copy.bench.store.folders()}
    assert len(shared) == 2
    assert shared <= stored
    unknown_to_all(copy)
    copy.bench.run(copy.root / "small.toml", profile="tiny", device="cpu", in_process=True)
    (copy.root / "results" / "last.json").unlink()
    assert leftovers(copy.bench) == []
    (copy.root / "small.toml").unlink()
    assert shared <= {item.folder.key for item in leftovers(copy.bench)}
