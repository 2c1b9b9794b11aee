"""``bench check`` of what a suite names beside its own keys."""

from __future__ import annotations

from click.testing import CliRunner

from bench.cli.main import cli
from tests.conftest import TINY, Project


def test_a_literature_file_with_mistakes_is_found_before_a_table_is_printed(project: Project) -> None:
    project.write(
        "results/literature/mine.toml",
        '[source]\nname = "mine"\ntitle = "Mine"\nurl = "u"\n[[row]]\nlabel = "m"\ndataset = "digits"\ntable = "1"\n'
        'values = {accuracy = "high"}\n',
    )
    project.suite(TINY + 'literature = ["mine"]\n')
    found = CliRunner().invoke(cli, ["check", "tiny"])
    assert found.exit_code == 2
    assert "mine.toml:9:11: row[0].values.accuracy: expected a number, got 'high'" in found.output


def test_a_right_suite_is_ok(project: Project) -> None:
    project.suite(TINY)
    found = CliRunner().invoke(cli, ["check", "tiny", "--profile", "smoke"])
    assert (found.exit_code, ": ok, 2 models, 5 evaluations, 1 tables" in found.output) == (0, True)
