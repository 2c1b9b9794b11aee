"""The images behind a number: what is kept is what was broken, and keeping it changes nothing."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as draws
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.attacks.threat import parse_eps
from bench.data.spec import Split
from bench.data.splits import Splits
from bench.evaluate.base import Evaluation, EvaluationConfig, Outcome
from bench.evaluate.robust.adaptive import Adaptive, AdaptiveConfig
from bench.evaluate.robust.attack import NamedAttack, NamedAttackConfig
from bench.evaluate.robust.cw import CW, CWL2, CWConfig, CWL2Config
from bench.evaluate.robust.kept import ADVERSARIALS, Broken, packed
from bench.evaluate.robust.pgd import PGD, PGDConfig
from bench.evaluate.robust.transfer import Transfer, TransferConfig
from bench.family import Classifier

VALUES = [0.02, 0.1, 0.28, 0.31, 0.34, 0.36, 0.45, 0.5, 0.62, 0.65, 0.67, 0.72, 0.9, 0.99]
SHORT: dict[str, Any] = {"steps": 8, "step": "eps/2"}


class Thirds(Classifier):
    """Three classes of one pixel: logits -(x - c)^2 times a slope; decisions at 1/3 and 2/3."""

    def __init__(self, slope: float = 20.0) -> None:
        super().__init__(3, (1, 1, 1))
        self.centers, self.slope = nn.Parameter(torch.tensor([1 / 6, 1 / 2, 5 / 6])), slope

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        return -self.slope * (features - self.centers).square()


@dataclass(frozen=True)
class Case:
    evaluation: Evaluation
    config: EvaluationConfig
    metrics: tuple[str, ...]


CASES = {
    "pgd": Case(
        PGD(),
        PGDConfig(eps=("8/255",), losses=("ce", "ce@10", "margin", "margin-targeted"), steps=8, step="eps/4"),
        ("ce", "ce-t10", "margin", "margin-targeted"),
    ),
    "pgd, any iterate, l2": Case(
        PGD(), PGDConfig(eps=("8/255",), norm="l2", losses=("ce",), iterate="any", steps=8, step="eps/1.5"), ("ce",)
    ),
    "pgd without a loss": Case(
        PGD(), PGDConfig(eps=("8/255",), losses=("distance", "margin"), steps=8, step="eps/4"), ("margin",)
    ),
    "adaptive": Case(
        Adaptive(),
        AdaptiveConfig(eps=("8/255",), restarts=1, queries=5, losses=("margin", "margin-targeted"), **SHORT),
        ("robust",),
    ),
    "adaptive with transfer": Case(
        Adaptive(),
        AdaptiveConfig(eps=("8/255",), restarts=1, queries=5, losses=("ce",), transfer=("other",), **SHORT),
        ("robust",),
    ),
    "transfer": Case(Transfer(), TransferConfig(source="other", eps=("8/255",), **SHORT), ("robust",)),
    "attack": Case(
        NamedAttack(), NamedAttackConfig(attack="torchattacks.PGD", eps=("8/255",), params={"steps": 8}), ("robust",)
    ),
    "attack that minimises": Case(
        NamedAttack(),
        NamedAttackConfig(attack="cw_l2", norm="l2", params={"steps": 20, "rounds": 2, "c0": 1.0}),
        ("l2",),
    ),
    "cw": Case(CW(), CWConfig(steps=15, c=10.0), ("l2",)),
    "cw-l2": Case(CWL2(), CWL2Config(steps=20, rounds=3, c0=1.0), ("l2",)),
    "cw-l2, targeted": Case(CWL2(), CWL2Config(steps=20, rounds=3, c0=1.0, targets="next-random"), ("l2",)),
}


@pytest.fixture
def splits() -> Splits:
    """Pixels with the labels of ``Thirds``, but for two."""
    images = np.array(VALUES, dtype=np.float32).reshape(-1, 1, 1, 1)
    labels = (images[:, 0, 0, 0] * 3).astype(np.int64)
    labels[[1, 12]] = 1
    split = Split(images, labels, 200 + 3 * np.arange(len(VALUES)))
    return Splits(split, split, split)


def evaluated(case: Case, given: Callable[..., Any], splits: Splits, *, keep: bool) -> Outcome:
    inputs = given(model=Thirds().eval(), splits=splits, others={"other": Thirds(3.0).eval()}, num_classes=3)
    return case.evaluation.evaluate(case.config.model_copy(update={"adversarials": keep}), inputs)


def arrays(outcome: Outcome) -> dict[str, NDArray[Any]]:
    assert set(outcome.files) - {"noise.png"} == {ADVERSARIALS}
    with np.load(io.BytesIO(outcome.files[ADVERSARIALS]), allow_pickle=False) as found:
        return dict(found)


@pytest.mark.parametrize("name", CASES)
def test_keeping_the_images_changes_nothing_else(given: Callable[..., Any], splits: Splits, name: str) -> None:
    case = CASES[name]
    without, kept = (evaluated(case, given, splits, keep=keep) for keep in (False, True))
    assert not type(case.config).model_fields["adversarials"].default  # somebody has to ask for it
    assert ADVERSARIALS not in without.files
    assert "adversarials" not in without.details
    assert kept.numbers == without.numbers
    assert kept.items.keys() == without.items.keys()
    for array in without.items:
        np.testing.assert_array_equal(kept.items[array], without.items[array])
    assert {key: value for key, value in kept.details.items() if key != "adversarials"} == without.details


@pytest.mark.parametrize("name", CASES)
def test_the_file_holds_what_was_broken_and_the_record_says_so(
    given: Callable[..., Any], splits: Splits, name: str
) -> None:
    case = CASES[name]
    outcome = evaluated(case, given, splits, keep=True)
    found, facts = arrays(outcome), outcome.details["adversarials"]
    assert facts["file"] == ADVERSARIALS
    assert facts["sha256"] == hashlib.sha256(outcome.files[ADVERSARIALS]).hexdigest()
    assert [entry["metric"] for entry in facts["entries"]] == list(case.metrics)
    assert set(found) == {f"{metric}.{what}" for metric in case.metrics for what in ("ids", "images")}
    rows = {int(identity): row for row, identity in enumerate(splits.test.ids)}
    for entry in facts["entries"]:
        metric = entry["metric"]
        (number,) = [n for n in outcome.numbers if (n.metric, n.argument) == (metric, entry["argument"])]
        ids, images = found[f"{metric}.ids"], found[f"{metric}.images"]
        listed = np.array([rows[int(identity)] for identity in ids])
        clean, labels = splits.test.unit_images()[listed], splits.test.labels[listed]
        with torch.no_grad():
            predictions = Thirds().eval()(torch.from_numpy(images)).argmax(dim=1).numpy()
        assert images.dtype == np.float32
        assert len(images) == len(ids) == entry["broken"]
        # Neither "all" nor "none" would pass: 12 items are classified correctly.
        assert outcome.items["clean"].sum() == 12
        assert 3 <= len(ids) < (13 if "cw" in name else 12)
        assert ((images >= 0) & (images <= 1)).all()
        norms = np.abs(images.astype(np.float64) - clean)[:, 0, 0, 0]  # one pixel: one norm
        if entry["eps"] is None:
            assert (entry["norm"], entry["argument"]) == ("l2", "")
            assert number.value == pytest.approx(norms.mean(), rel=1e-6)
            broken = outcome.items["success"].astype(bool)
        else:
            assert entry["eps"] == entry["argument"] == "8/255"
            assert entry["norm"] == getattr(case.config, "norm", None)
            assert norms.max() <= parse_eps("8/255") * (1 + 1e-6) + 1e-7
            clean_correct = outcome.items["clean"].astype(bool)
            broken = clean_correct & ~outcome.items[metric].astype(bool)
            assert number.value == (clean_correct.sum() - len(ids)) / len(VALUES)
        np.testing.assert_array_equal(ids, outcome.items["ids"][broken])
        if "targets" in outcome.items:
            np.testing.assert_array_equal(predictions, outcome.items["targets"][broken])
        assert (predictions != labels).all()


def test_nothing_broken_is_an_empty_file(given: Callable[..., Any], splits: Splits) -> None:
    case = Case(PGD(), PGDConfig(eps=("0.001",), losses=("margin",), steps=2), ("margin",))
    outcome = evaluated(case, given, splits, keep=True)
    assert arrays(outcome)["margin.images"].shape == (0, 1, 1, 1)
    assert outcome.details["adversarials"]["entries"][0]["broken"] == 0


@draws(data=st.data(), count=st.integers(0, 12), numbers=st.integers(1, 3))
def test_packing_keeps_the_broken_rows_of_every_number(data: st.DataObject, count: int, numbers: int) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    ids = generator.permutation(100)[:count]
    broken = [
        Broken(
            f"m{number}",
            "1/255",
            "linf",
            "1/255",
            np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), dtype=np.bool_),
            generator.random((count, 1, 2, 3), dtype=np.float32),
        )
        for number in range(numbers)
    ]
    files, facts = packed(ids, broken)
    again, _ = packed(ids, broken)
    assert again == files  # the digest depends on what is kept alone
    with np.load(io.BytesIO(files[ADVERSARIALS]), allow_pickle=False) as found:
        assert len(found) == 2 * numbers
        for one, entry in zip(broken, facts["entries"], strict=True):
            np.testing.assert_array_equal(found[f"{one.metric}.ids"], ids[one.success])
            np.testing.assert_array_equal(found[f"{one.metric}.images"], one.adversarials[one.success])
            assert entry["broken"] == int(one.success.sum())
