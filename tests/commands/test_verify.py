"""``bench verify``, end to end: what an honest run has kept holds, and whatever is tampered with is found."""

from __future__ import annotations

import json

import pytest

from bench.errors import NothingSelectedError
from tests.commands.conftest import CLAIMS, SUITE, Claims

pytestmark = pytest.mark.usefixtures("of_this_machine")


def test_every_claim_of_an_honest_run_holds(honest: Claims) -> None:
    found = honest.verified()
    assert list(found) == CLAIMS
    for name, one in found.items():
        assert one.holds, name
        assert (one.confirmed, one.rounding) == (one.claimed, 0), name
        assert one.claimed > 0, name
        assert one.measured == pytest.approx(one.recorded), name
        assert one.largest is not None
        if one.eps is None:
            assert one.argument == ""
            assert 0 < one.measured <= one.largest  # type: ignore[operator]
        else:
            assert (one.eps, one.argument) == ("25/255", "25/255")
            # PGD goes to the corner of the ball.
            assert one.largest == pytest.approx(25 / 255, rel=1e-5)
    # So that a number can be wrong at all: some items are left, by some of the attacks.
    assert any(one.recorded for one in found.values() if one.eps is not None)


def test_only_what_is_selected_is_checked(honest: Claims) -> None:
    result = honest.command("--only", "softmax/*/pgd@25/255")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 3
    assert "cw-l2" not in result.stdout


def test_the_lines_say_what_was_found(honest: Claims) -> None:
    lines = honest.command().stdout.splitlines()
    found = honest.verified()
    assert len(lines) == len(CLAIMS) + 1
    one = found["softmax", "pgd@25/255", "ce"]
    assert lines[0].split() == [
        "softmax/digits/seed1/pgd@25/255", "ce", str(one.claimed), "of", str(one.claimed), "confirmed;", "largest",
        "norm", "25/255", "of", "25/255;", f"{one.recorded:.1%}", "(record:", f"{one.recorded:.1%})",
    ]  # fmt: skip
    total = sum(one.claimed for one in found.values())
    assert lines[-1] == f"{total} adversarial images of {len(CLAIMS)} numbers: every claim holds"


def test_json(honest: Claims) -> None:
    result = honest.command("--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["schema"] == 1
    assert facts["verified"] == [one.as_json() for one in honest.verified().values()]
    assert all(one["holds"] is True and one["problem"] is None for one in facts["verified"])


@pytest.mark.parametrize("device", ["gpu", "cuda:97", "cpu:x"])
def test_a_device_that_is_none(honest: Claims, device: str) -> None:
    result = honest.command("--device", device)
    assert result.exit_code == 2
    assert f"device {device!r} cannot be used: " in result.stderr


def test_looking_changes_nothing(claims: Claims) -> None:
    before = {path: path.read_bytes() for path in claims.root.rglob("*") if path.is_file()}
    claims.command()
    assert {path: path.read_bytes() for path in claims.root.rglob("*") if path.is_file()} == before


def test_nothing_kept(claims: Claims) -> None:
    """A suite that does not ask for the images, on the same store: its jobs are others, and not even run."""
    (claims.root / "suites" / "claims.toml").write_text(SUITE.replace("adversarials = true\n", ""))
    with pytest.raises(NothingSelectedError):
        claims.verified()
    result = claims.command()
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "set adversarials = true in an [[evaluation]] of an attack and run it" in result.stderr


def test_kept_but_not_selected(honest: Claims) -> None:
    assert honest.command("--only", "*/train").exit_code == 3
