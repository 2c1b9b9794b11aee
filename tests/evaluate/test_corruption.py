"""The evaluation ``corruption``: models with known answers, published images, and what cannot be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from bench.data import cifar_c
from bench.data.cifar_c import CORRUPTIONS
from bench.data.job import OodData
from bench.data.spec import DamagedData, Split
from bench.data.splits import Splits
from bench.evaluate import corruption as module
from bench.evaluate.corruption import Corruption, CorruptionConfig
from bench.family import Classifier
from bench.metrics.intervals import wilson
from bench.spec import FAMILIES
from tests.data.test_cifar_c import prepare_cifar_c

if TYPE_CHECKING:
    from tests.conftest import Project

CORRUPTION = Corruption()
needs_library = pytest.mark.skipif(module.not_installed() is not None, reason="imagecorruptions is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Corrupted images are kept in the user's cache: not in that of who runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Bright(Classifier):
    """Class 1 if the mean of all pixels exceeds an edge."""

    def __init__(self, shape: tuple[int, int, int], edge: float = 0.5) -> None:
        super().__init__(2, shape)
        self.edge = edge

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1).mean(dim=1, keepdim=True) - self.edge

    def classify(self, features: Tensor) -> Tensor:
        return torch.cat([-features, features], dim=1)


def splits(images: NDArray[Any], labels: list[int], ids: list[int] | None = None) -> Splits:
    named = np.arange(len(images)) if ids is None else np.array(ids)
    split = Split(images, np.array(labels, dtype=np.int64), named.astype(np.int64))
    return Splits(split, split, split)


def plain(values: list[float], side: int = 28) -> NDArray[np.float32]:
    """Grey images of one level each."""
    return np.repeat(np.array(values, np.float32), side * side).reshape(-1, 1, side, side)


@needs_library
def test_a_model_with_known_answers(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    """Contrast leaves plain images as they are; brightness adds 0.1, 0.2, ... and so pushes dark ones over the edge."""
    values, labels = [0.05, 0.25, 0.35, 0.45, 0.7, 0.9], [0, 0, 0, 0, 1, 0]  # the last is wrong everywhere
    config = CorruptionConfig(corruptions=("brightness", "contrast"), severities=(1, 2, 4), batch_size=4)
    inputs = given(model=Bright((1, 28, 28)).eval(), splits=splits(plain(values), labels, [9, 4, 7, 1, 0, 3]))
    outcome = CORRUPTION.evaluate(config, inputs)
    keeps_its_word(CORRUPTION, config, outcome)
    found = {(number.metric, number.argument): number for number in outcome.numbers}
    # Right under brightness at 1, 2, 4; always right under contrast but for the last.
    bright = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 0, 0]])
    clear = np.array([1, 1, 1, 1, 1, 0])
    for place, level in enumerate((1, 2, 4)):
        assert found["brightness", str(level)].value == bright[:, place].mean()
        assert found["brightness", str(level)].interval == wilson(int(bright[:, place].sum()), 6)
        assert found["contrast", str(level)].value == 5 / 6
        assert found["severity", str(level)].value == pytest.approx((bright[:, place].sum() + 5) / 12)
        np.testing.assert_array_equal(outcome.items[f"brightness@{level}"], bright[:, place] == 1)
        assert outcome.items[f"brightness@{level}"].dtype == np.bool_
    shares = (bright.sum(axis=1) + 3 * clear) / 6
    assert found["brightness", ""].value == pytest.approx(bright.mean())
    assert found["accuracy", ""].value == pytest.approx(shares.mean())
    assert found["error", ""].value == pytest.approx(1 - shares.mean())
    assert found["clean", ""].value == 5 / 6
    assert found["drop", ""].value == pytest.approx(5 / 6 - shares.mean())
    np.testing.assert_allclose(outcome.items["accuracy"], shares)
    np.testing.assert_allclose(outcome.items["drop"], clear - shares)
    np.testing.assert_array_equal(outcome.items["ids"], [9, 4, 7, 1, 0, 3])
    for name in ("accuracy", "error", "drop"):
        interval = found[name, ""].interval
        assert interval is not None
        assert interval.low < found[name, ""].value < interval.high
        assert found[name, ""].n == 6
        assert found[name, ""].items == name
    accuracy, error = found["accuracy", ""].interval, found["error", ""].interval
    assert (error.low, error.high) == (1 - accuracy.high, 1 - accuracy.low)


@needs_library
def test_batches_and_the_number_of_items_change_no_answer(given: Callable[..., Any]) -> None:
    images = (np.random.default_rng(0).random((6, 3, 32, 32)) * 255).astype(np.uint8)
    whole = splits(images, [0, 1, 0, 1, 0, 1])

    def answers(**options: int) -> dict[str, Any]:
        config = CorruptionConfig(corruptions=("shot_noise", "snow", "frost"), severities=(3,), **options)
        return dict(CORRUPTION.evaluate(config, given(model=Bright((3, 32, 32), 0.51).eval(), splits=whole)).items)

    first = answers(batch_size=6)
    for name, array in answers(batch_size=1).items():
        np.testing.assert_array_equal(array, first[name])
    for name, array in answers(items=2).items():
        np.testing.assert_array_equal(array, first[name][:2])


@needs_library
def test_what_cannot_be_made_is_told_and_so_is_every_mean_over_it(
    given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    config = CorruptionConfig(corruptions=("motion_blur", "fog"), severities=(1, 5))
    inputs = given(model=Bright((1, 8, 8)).eval(), splits=splits(plain([0.2, 0.8], 8), [0, 1]))
    outcome = CORRUPTION.evaluate(config, inputs)
    keeps_its_word(CORRUPTION, config, outcome)
    reasons = {(number.metric, number.argument): number.reason for number in outcome.numbers}
    absent = {which for which, reason in reasons.items() if reason is not None}
    assert absent == {
        ("accuracy", ""), ("error", ""), ("drop", ""), ("severity", "5"), ("motion_blur", ""), ("motion_blur", "5"),
    }  # fmt: skip
    why = "motion_blur at severity 5 cannot be made for 8x8 pixels: the motion leaves the image and would darken it by"
    assert str(reasons["motion_blur", "5"]).startswith(why)
    assert str(reasons["accuracy", ""]).startswith(
        f"1 of its 4 corruptions and severities cannot be made, such as: {why}"
    )
    assert set(outcome.details["left_out"]) == {"motion_blur@5"}


class Lost(Bright):
    """Without finite logits for images that are brighter than a bound."""

    def __init__(self, bound: float) -> None:
        super().__init__((1, 28, 28))
        self.bound = bound

    def classify(self, features: Tensor) -> Tensor:
        logits = super().classify(features)
        return torch.where(features + self.edge > self.bound, torch.nan, logits)


@needs_library
def test_without_finite_logits_items_are_wrong_and_models_have_no_numbers(
    given: Callable[..., Any], keeps_its_word: Callable[..., None]
) -> None:
    config = CorruptionConfig(corruptions=("brightness",), severities=(1, 5))
    data = splits(plain([0.1, 0.2, 0.7]), [0, 0, 1])
    outcome = CORRUPTION.evaluate(config, given(model=Lost(0.75).eval(), splits=data))
    keeps_its_word(CORRUPTION, config, outcome)
    found = {(number.metric, number.argument): number for number in outcome.numbers}
    assert (found["brightness", "1"].value, found["brightness", "1"].not_finite) == (2 / 3, 1)
    assert found["clean", ""].not_finite == 0
    assert str(found["accuracy", ""].note).startswith("1 of 3 test items lack finite logits")
    none = CORRUPTION.evaluate(config, given(model=Lost(-1).eval(), splits=data))
    keeps_its_word(CORRUPTION, config, none)
    assert {number.value for number in none.numbers} == {None}


def published(given: Callable[..., Any], root: Path, labels: list[int], ids: list[int]) -> Any:
    images = np.zeros((len(ids), 3, 32, 32), np.uint8)
    inputs = given(model=Bright((3, 32, 32)).eval(), splits=splits(images, labels, ids))
    inputs.data_root = root
    own = OodData(dataset="cifar10-c", fingerprint="", identity={})
    inputs.task = replace(inputs.task, sets={"cifar10-c": own})
    return inputs


def test_published_images_are_those_of_the_test_items(
    given: Callable[..., Any], keeps_its_word: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [0, 1, 1, 0, 1]
    images = prepare_cifar_c("cifar10-c", tmp_path, monkeypatch, labels)
    config = CorruptionConfig(source="published")
    ids = [3, 1, 4]  # items of CIFAR's test part in another order
    outcome = CORRUPTION.evaluate(config, published(given, tmp_path, [labels[i] for i in ids], ids))
    keeps_its_word(CORRUPTION, config, outcome)
    total = 0
    for name in CORRUPTIONS:
        for level in range(1, 6):
            blocks = images[name].reshape(5, 5, -1)[level - 1, ids].mean(axis=1) / 255
            expected = (blocks > 0.5) == np.array([labels[i] for i in ids])
            np.testing.assert_array_equal(outcome.items[f"{name}@{level}"], expected)
            total += expected.sum()
    assert outcome.numbers[0].value == pytest.approx(total / (75 * 3))
    assert "CIFAR-10-C or CIFAR-100-C as published" in outcome.numbers[0].definition


def test_published_images_of_other_items_are_refused(
    given: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_cifar_c("cifar10-c", tmp_path, monkeypatch, [0, 1])
    config = CorruptionConfig(source="published", corruptions=("fog",))
    for labels, ids in (([1, 0], [0, 1]), ([0, 1, 0], [0, 1, 2])):
        with pytest.raises(DamagedData, match="labels of cifar10-c are not those of the test items"):
            CORRUPTION.evaluate(config, published(given, tmp_path, labels, ids))


def test_columns_and_costs() -> None:
    config = CorruptionConfig()
    columns = CORRUPTION.columns(config)
    assert len(columns) == 4 + 5 + 15 * 6
    assert CORRUPTION.passes(config, 10_000, FAMILIES.get("softmax")) == 1000 * 76
    definitions = {column.metric: column.definition for column in columns if not column.argument}
    assert definitions["accuracy"] == (
        "accuracy[argmax of logits, mean over 15 corruptions at severities 1, 2, 3, 4, 5; "
        "imagecorruptions-imaug 1.1.5 on 8-bit images, severities of ImageNet-C]"
    )
    assert definitions["error"].startswith(
        "mean corruption error, unnormalised (not divided by AlexNet's errors): 1 - "
    )
    (used,) = CORRUPTION.uses(config)
    assert used.identity == ("library", {"name": "imagecorruptions-imaug 1.1.5", "version": 1})
    assert CORRUPTION.uses(CorruptionConfig(source="published")) == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"corruptions": ("fogg",)}, r"unknown corruption 'fogg'; did you mean 'fog'"),
        ({"corruptions": ("fog", "fog")}, "'fog' is listed twice"),
        ({"severities": (0,)}, "a severity is 1 to 5, got 0"),
        ({"severities": (2, 2)}, "2 is listed twice"),
        ({"severities": ()}, "at least 1 item"),
        ({"source": "zenodo"}, "generated"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CorruptionConfig(**options)


def test_what_is_impossible_is_told_when_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "not_installed", lambda: "needs it")
    generated, taken = CorruptionConfig(), CorruptionConfig(source="published")
    assert CORRUPTION.impossible(generated, (1, 28, 28), 10) == "needs it"
    assert CORRUPTION.impossible(generated, (2, 28, 28), 10) == (
        "the corruptions are for grey and colour images, not for 2 channels"
    )
    motion = CorruptionConfig(corruptions=("motion_blur",), severities=(4, 5))
    assert (
        CORRUPTION.impossible(motion, (1, 14, 14), 10) == "none of these corruptions can be made for images of 1x14x14"
    )
    assert CORRUPTION.impossible(taken, (3, 32, 32), 10) is None
    assert CORRUPTION.impossible(taken, (3, 16, 16), 10) == (
        "corrupted images are published for cifar10 and cifar100 at 3x32x32, not for images of 3x16x16"
    )
    assert CORRUPTION.published_sets(taken, "cifar100") == ("cifar100-c",)
    assert CORRUPTION.published_sets(taken, "svhn") == (
        "corrupted images are published for cifar10 and cifar100, not for svhn"
    )
    assert CORRUPTION.published_sets(generated, "svhn") == ()


SUITE = """\
[suite]
name = "corrupted"
[data]
dataset = "digits"
[[model]]
family   = "softmax"
backbone = "wrn-10-1"
epochs   = 1
[[model]]
family   = "gmmc-dis"
backbone = "wrn-10-1"
epochs   = 1
[[evaluation]]
kind        = "corruption"
corruptions = ["fog", "contrast", "shot_noise"]
severities  = [1, 3]
items       = 40
[[evaluation]]
kind   = "corruption"
id     = "published"
source = "published"
[[table]]
id      = "main"
columns = ["corruption", "corruption.error", "corruption.drop", "corruption.fog@3", "corruption.severity@1",
           "published.error"]
"""


@needs_library
def test_a_suite_is_measured_and_compared(project: Project) -> None:
    run = project.bench.run(str(project.suite(SUITE, "corrupted")), in_process=True)
    assert run.exit_code() == 0
    (table,) = project.bench.tables("corrupted").tables
    for row in table.rows:
        accuracy, error, drop, fog, _, absent = row.cells
        assert accuracy.value is not None
        assert error.value == pytest.approx(1 - accuracy.value)
        assert drop.value is not None
        assert fog.interval is not None
        assert absent.reason == (
            "corrupted images are published for cifar10 and cifar100 at 3x32x32, not for images of 1x8x8"
        )
    job = next(job for job in run.plan.jobs if job.evaluation == "corruption")
    assert job.task.plug_ins["library"]["name"] == "imagecorruptions-imaug 1.1.5"
    record = project.bench.store.folder(job.key).record_json()
    assert record["provenance"]["versions"]["imagecorruptions-imaug"] == "1.1.5"


def test_without_the_library_the_cells_say_how_to_get_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "not_installed", lambda: "needs it (pip install 'gmmc-bench[corruptions]')")
    plan = project.bench.plan(str(project.suite(SUITE, "corrupted")))
    blocked = {job.task.blocked for job in plan.jobs if job.evaluation == "corruption"}
    assert blocked == {"needs it (pip install 'gmmc-bench[corruptions]')"}


def test_missing_published_files_are_named_and_present_ones_are_in_the_key(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = project.suite(SUITE.replace('"digits"', '"cifar10"'), "corrupted")

    def task() -> Any:
        return next(job.task for job in project.bench.plan(str(suite)).jobs if job.evaluation == "published")

    before = task()
    assert before.blocked.startswith("CIFAR-10-C/gaussian_noise.npy and 15 more not found below")
    assert before.blocked.endswith("or: bench data get cifar10-c")
    for path in cifar_c.CIFAR10_C.digests:
        file = project.bench.settings.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    after = task()
    assert after.absent is None
    assert list(after.sets) == ["cifar10-c"]
    assert after.key != before.key
    assert after.as_json()["fingerprints"]["data"]["cifar10-c"] == cifar_c.CIFAR10_C.fingerprint
