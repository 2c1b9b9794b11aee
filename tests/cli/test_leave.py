"""After an interrupt: what becomes of jobs in the queue of a cluster."""

from __future__ import annotations

import click
import pytest

from bench.cli import run


class Queued:
    def __init__(self, *numbers: str) -> None:
        self.numbers, self.cancelled = list(numbers), False

    def left(self) -> list[str]:
        return self.numbers

    def cancel(self) -> None:
        self.cancelled = True


@pytest.mark.parametrize(
    ("terminal", "option", "answer", "cancelled"),
    [
        (False, False, None, False),
        (False, True, None, True),
        (True, False, True, True),
        (True, False, False, False),
        (True, False, click.Abort(), False),
        (True, True, None, True),
    ],
)
def test_it_asks_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    option: bool,
    answer: bool | click.Abort | None,
    cancelled: bool,
) -> None:
    def confirm(text: str, *, default: bool, err: bool) -> bool:
        assert text == "2 jobs in the queue; cancel?"
        assert (default, err) == (False, True)
        assert answer is not None
        if isinstance(answer, click.Abort):
            raise answer
        return answer

    monkeypatch.setattr(run, "is_terminal", lambda _: terminal)
    monkeypatch.setattr(click, "confirm", confirm)
    queued = Queued("12_0", "12_1")
    run._leave(queued, option)
    assert queued.cancelled is cancelled
    said = capsys.readouterr().err
    assert ("cancelled 2 jobs" if cancelled else "left in the queue: 2 jobs (12_0 12_1); the same command") in said


def test_nothing_left_is_nothing_to_ask(capsys: pytest.CaptureFixture[str]) -> None:
    run._leave(Queued(), False)
    assert capsys.readouterr() == ("", "")
