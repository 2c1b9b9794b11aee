from __future__ import annotations

import subprocess
import sys

import pytest

from bench.attacks.named import ATTACKS, named_attack
from bench.attacks.threat import ThreatModel


def test_listing_and_defining_attacks_needs_no_torch() -> None:
    code = (
        "import sys, bench.attacks, bench.attacks.named, bench.attacks.diagnostics\n"
        "from bench.attacks import ThreatModel, parse_eps\n"
        "for attack in bench.attacks.named.ATTACKS.values():\n"
        "    threat = ThreatModel(attack.norms[0], parse_eps('8/255'))\n"
        "    attack.check(threat, targeted=False)\n"
        "    assert attack.definition(threat) and attack.passes() > 0\n"
        "    attack.impossible(threat.norm, (3, 32, 32), 10)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ATTACKS.names())
def test_attacks_are_described(name: str) -> None:
    attack = named_attack(name)
    assert attack.name == name
    assert attack.summary.endswith(".")
    assert attack.source
    assert set(attack.norms) <= {"linf", "l2"}
    assert name.replace("_", "-").removesuffix("-pgd").removesuffix("-l2") in attack.definition(
        ThreatModel(attack.norms[0], 0.1)  # type: ignore[arg-type]
    )


def test_parameters_are_overlaid_on_defaults() -> None:
    assert named_attack("pgd", {"steps": 5}).parameters == {**named_attack("pgd").parameters, "steps": 5}
    assert named_attack("pgd").parameters["steps"] == 40


def test_near_misses_are_suggested() -> None:
    with pytest.raises(ValueError, match=r"unknown attack 'torchattack.PGD'; did you mean 'torchattacks.PGD'"):
        named_attack("torchattack.PGD")
    with pytest.raises(ValueError, match=r"no parameter 'restart'; did you mean 'restarts'"):
        named_attack("pgd", {"restart": 2})
    with pytest.raises(ValueError, match=r"no parameter 'zzz' \(known: steps"):
        named_attack("pgd", {"zzz": 2})
