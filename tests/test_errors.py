"""Mistakes in files, as the person at the command line meets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from bench.cli.main import cli
from bench.errors import Problem, SuiteError, did_you_mean, nearest

if TYPE_CHECKING:
    from tests.conftest import Project

GOOD = """\
[suite]
name = "s"

[data]
dataset = "digits"

[[model]]
family = "softmax"
backbone = "wrn-10-1"

[[model]]
family = "jem"
backbone = "wrn-10-1"
[model.sampler]
steps = 10

[[evaluation]]
kind = "accuracy"

[[evaluation]]
kind = "ood"
sets = ["patches"]

[[evaluation]]
kind = "pgd"
eps = ["8/255"]

[[table]]
id = "t"
columns = ["accuracy", "pgd@8/255"]
models = ["softmax", "JEM"]
literature = ["gmmc-2021"]
"""


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def assert_refused(project: Project, result: Result, *lines: str) -> None:
    """Exit code 2, these messages and no others, no traceback, nothing measured or remembered."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.splitlines() == list(lines)
    assert not project.results.exists()


def test_the_suite_without_mistakes(project: Project) -> None:
    project.suite(GOOD, "s")
    result = bench("check", "suites/s.toml")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("suites/s.toml: ok, 2 models, 3 evaluations, 1 table")


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_every_command_refuses_it(project: Project, command: str) -> None:
    project.suite(GOOD.replace("steps = 10", "stesp = 10"), "s")
    place = "suites/s.toml:15:1: model[1].sampler.stesp"
    assert_refused(project, bench(command, "suites/s.toml"), f"bench: {place}: unknown key; did you mean 'steps'?")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # unknown keys
        ("steps = 10", "stepps = 10", "15:1: model[1].sampler.stepps: unknown key; did you mean 'steps'?"),
        ('dataset = "digits"', 'datset = "digits"\ndataset = "digits"', "5:1: data.datset: unknown key; did you mean"),
        ('kind = "pgd"', 'kind = "pgd"\nepz = 3', "26:1: evaluation[2].epz: unknown key; did you mean 'eps'?"),
        ('id = "t"', 'id = "t"\ntitel = "x"', "30:1: table[0].titel: unknown key; did you mean 'title'?"),
        ("[data]", "[dota]\n[data]", "4:1: dota: unknown section; did you mean 'data'?"),
        # wrong types
        ("steps = 10", 'steps = "ten"', "15:1: model[1].sampler.steps: expected a whole number, got 'ten'"),
        ("steps = 10", "steps = true", "15:1: model[1].sampler.steps: expected a whole number, got true"),
        ('sets = ["patches"]', "sets = [3]", "22:9: evaluation[1].sets[0]: expected a text in quotes, got 3; write"),
        ('sets = ["patches"]', 'sets = "patches"', "22:1: evaluation[1].sets: expected a list, got 'patches'; write"),
        # impossible values
        ("steps = 10", "steps = -1", "15:1: model[1].sampler.steps: input should be greater than or equal to 0, got"),
        ('eps = ["8/255"]', 'eps = ["8/0"]', "26:1: evaluation[2].eps: eps must be a finite number >= 0 or a frac"),
        (
            'eps = ["8/255"]',
            "eps = [8]",
            '26:1: evaluation[2].eps: expected a text in units of the pixel range, got 8; write "8/255"',
        ),
        (
            'eps = ["8/255"]',
            "eps = [8.0]",
            '26:1: evaluation[2].eps: expected a text in units of the pixel range, got 8.0; write "8/255"',
        ),
        *(
            (
                'eps = ["8/255"]',
                f"eps = [{number}]",
                f'26:1: evaluation[2].eps: expected a text in units of the pixel range, got {number}; write "{meant}"',
            )
            for number, meant in (
                ("inf", "8/255"),
                ("nan", "8/255"),
                ("8.5", "8/255"),
                ("300", "8/255"),
                ("0.03", "0.03"),
            )
        ),
        ('eps = ["8/255"]', "eps = 8", '26:1: evaluation[2].eps: expected a list of texts, got 8; write ["8/255"]'),
        (
            'eps = ["8/255"]',
            'eps = "8/255"',
            '26:1: evaluation[2].eps: expected a list of texts, got "8/255"; write ["8/255"]',
        ),
        (
            'eps = ["8/255"]',
            'norm = "l2"\neps = [1]',
            '27:1: evaluation[2].eps: expected a text in units of the pixel range, got 1; write "1"',
        ),
        (
            'kind = "pgd"',
            'kind = "pgd"\nstep = 2',
            '26:1: evaluation[2].step: expected a text: "eps/30", or absolute such as "2/255", got 2',
        ),
        (
            'kind = "pgd"',
            'kind = "pgd"\nstep = true',
            '26:1: evaluation[2].step: expected a text: "eps/30", or absolute such as "2/255", got true',
        ),
        (
            'kind = "pgd"',
            'kind = "pgd"\nstep = "2.0"',
            "26:1: evaluation[2].step: an absolute step in L_inf is in units of the pixel range, so at most 1, got",
        ),
        ('eps = ["8/255"]', "eps = []", "26:1: evaluation[2].eps: expected at least 1 value, got none"),
        (
            '[[evaluation]]\nkind = "acc',
            'lr = 0\n[[evaluation]]\nkind = "acc',
            "17:1: model[1].sampler.lr: unknown key",
        ),
        # unknown names
        ('"jem"', '"jme"', "12:1: model[1].family: unknown family 'jme'; did you mean 'jem'?"),
        ('"jem"\nbackbone = "wrn-10-1"', '"jem"\nbackbone = "wrn-10-l"', "13:1: model[1].backbone: unknown backbone"),
        ('"digits"', '"digit"', "5:1: data.dataset: unknown data set 'digit'; did you mean 'digits'?"),
        ('["patches"]', '["patches", "svhm"]', "22:20: evaluation[1].sets[1]: unknown data set 'svhm'; did you mean"),
        ('kind = "pgd"', 'kind = "pdg"', "25:1: evaluation[2].kind: unknown evaluation 'pdg'; did you mean 'pgd'?"),
        ('"pgd@8/255"', '"pgd@4/255"', "30:24: table[0].columns[1]: unknown column 'pgd@4/255'; did you mean 'pgd@8"),
        (
            '"pgd@8/255"',
            '"calibration.ece"',
            "30:24: table[0].columns[1]: unknown column 'calibration.ece'; no evaluation gives it; add [[eval",
        ),
        ('"JEM"', '"GEM"', "31:22: table[0].models[1]: unknown model 'GEM'; did you mean 'jem'?"),
        ('"gmmc-2021"', '"gmmc-2012"', "32:15: table[0].literature[0]: unknown literature 'gmmc-2012'; did you mean"),
        ('"jem"', '"jem"\npreset = "jem-cod"', "13:1: model[1].preset: jem has no preset 'jem-cod'; did you mean"),
        ('"jem"', '"absent_module:SPEC"', "12:1: model[1].family: family 'absent_module:SPEC' cannot be imported"),
        # missing keys and broken syntax
        ('kind = "pgd"\n', "", "24:1: evaluation[2].kind: required key is missing"),
        ("[[table]]", "[[table]", "28:8: not valid TOML: Expected ']]'"),
    ],
)
def test_one_mistake_is_one_message(project: Project, old: str, new: str, expected: str) -> None:
    assert GOOD.count(old) == 1
    project.suite(GOOD.replace(old, new), "s")
    result = bench("run", "suites/s.toml")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"bench: suites/s.toml:{expected}")
    assert_refused(project, result, line)


def test_mistakes_are_reported_together_in_order(project: Project) -> None:
    text = GOOD.replace('kind = "pgd"', 'kind = "pdg"').replace('"digits"', '"digit"').replace("steps = 10", "step = 1")
    project.suite(text, "s")
    assert_refused(
        project,
        bench("run", "suites/s.toml"),
        "bench: suites/s.toml:5:1: data.dataset: unknown data set 'digit'; did you mean 'digits'?",
        "suites/s.toml:15:1: model[1].sampler.step: unknown key; did you mean 'steps'?",
        "suites/s.toml:25:1: evaluation[2].kind: unknown evaluation 'pdg'; did you mean 'pgd'?",
    )


def test_a_mistake_in_a_profile_names_the_profile(project: Project) -> None:
    project.suite(GOOD, "s")
    project.profile('[profile]\nname = "p"\n\n[model]\nepochs = "few"\n', "p")
    result = bench("run", "suites/s.toml", "--profile", "suites/profiles/p.toml")
    place = "suites/profiles/p.toml:5:1: model.epochs"
    assert_refused(project, result, f"bench: {place}: expected a whole number, got 'few'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "suites/sx.toml"], "bench: suites/sx.toml: no such file; did you mean 's'?"),
        (["run", "sx"], "bench: unknown suite 'sx'; did you mean 's'?"),
        (["run", "bench"], "bench: unknown suite 'bench'; did you mean 'bench.toml'?"),
        (["run", "s", "--profile", "smoek"], "bench: unknown profile 'smoek'; did you mean 'smoke'?"),
        (["run", "s", "--workers", "0"], "bench: --workers is 0, expected at least 1"),
        (["describe", "gmmc-gan"], "bench: nothing is called 'gmmc-gan'; did you mean 'gmmc-gen'?"),
        (["describe", "calibration.eec"], "bench: calibration has no metric 'eec'; did you mean 'ece'?"),
        (["show", "nothing", "--suite", "s"], None),
        (["table", "s", "--id", "tt"], None),
    ],
)
def test_requests_that_name_nothing(project: Project, arguments: list[str], message: str | None) -> None:
    project.suite(GOOD, "s")
    result = bench(*arguments)
    (line,) = result.stderr.splitlines()
    assert message is None or line == message
    assert_refused(project, result, line)


@pytest.mark.parametrize("command", ["status", "table"])
def test_there_is_no_last_run_yet(project: Project, command: str) -> None:
    result = bench(command)
    (line,) = result.stderr.splitlines()
    assert "no suite was run yet" in line
    assert_refused(project, result, line)


def test_debug_shows_the_traceback(project: Project) -> None:
    result = bench("--debug", "run", "nonsense-that-is-no-suite")
    assert result.exception is not None
    assert type(result.exception).__name__ == "RequestError"


def test_a_problem_says_where_what_and_how(project: Project) -> None:
    problem = Problem("unknown key", "model[0].lrr", project.root / "s.toml", 3, 1, "did you mean 'lr'?")
    assert str(problem) == f"{project.root}/s.toml:3:1: model[0].lrr: unknown key; did you mean 'lr'?"
    assert str(Problem("what")) == "what"


def test_problems_are_sorted_and_each_is_said_once() -> None:
    first, second = Problem("b", line=2), Problem("a", line=10)
    assert SuiteError([second, first, second]).problems == (first, second)
    assert str(SuiteError([second, first])) == f"{first}\n{second}"


def test_nearest_ignores_case_and_gives_up_on_strangers() -> None:
    assert nearest("GMMC-Gen", ["gmmc-gen", "gmmc-dis"]) == "gmmc-gen"
    assert nearest("xyzzy", ["gmmc-gen"]) is None
    assert nearest("learning_rate", ["decay_rate", "lr"]) == "lr"  # what a name abbreviates is nearer than its letters
    assert nearest("Learning-Rate", ["decay_rate", "LR"]) == "LR"
    assert did_you_mean("xyzzy", ["b", "a"]) == "valid: a, b"
    assert did_you_mean("xyzzy", [str(1000 + i) for i in range(13)]).endswith("1011, …")
    assert did_you_mean("xyzzy", []) == ""


def test_the_first_part_of_names_gets_these_names() -> None:
    jobs = [f"{model}/digits/{what}" for model in ("gem", "jem") for what in ("train", "accuracy", "pgd", "ood")]
    assert did_you_mean("jem", jobs) == "did you mean 'jem/digits/accuracy', 'jem/digits/ood', 'jem/digits/pgd', …?"
    assert did_you_mean("jem/digits/pdg", jobs) == "did you mean 'jem/digits/pgd'?"
