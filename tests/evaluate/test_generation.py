from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.linalg import sqrtm
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from bench.data.spec import Split
from bench.data.splits import Splits
from bench.evaluate.base import Number, Outcome
from bench.evaluate.generation import Generation, GenerationConfig
from bench.evaluate.judge import JUDGE
from bench.family import Classifier, Samples
from bench.metrics.precision_recall import prdc
from bench.metrics.resampling import stratified_draws
from bench.spec import FAMILIES

SHAPE = (1, 1, 3)
K = 2


class Generator(Classifier):
    """Keeps what it is given; fresh samples are brighter where the label is 1."""

    def __init__(self, stored: Samples | None) -> None:
        super().__init__(K, SHAPE)
        self.weight = nn.Parameter(torch.zeros(()))
        self.stored = stored
        self.steps: list[int | None] = []

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        return torch.zeros(len(features), K)

    def stored_samples(self) -> Samples | None:
        return self.stored

    def sample(
        self, labels: Tensor, *, seed: int, index: Tensor, steps: int | None = None, start: Tensor | None = None
    ) -> Tensor:
        self.steps.append(steps)
        generator = torch.Generator().manual_seed(seed)
        return (0.5 * labels)[:, None, None, None] + 0.5 * torch.rand(len(labels), *SHAPE, generator=generator)


class Brightness(Classifier):
    """A judge whose features are the pixels and that calls an image 1 if its first pixel is above 1/2."""

    def __init__(self) -> None:
        super().__init__(K, SHAPE)
        self.slope = nn.Parameter(torch.tensor(8.0))

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        margin = self.slope * (features[:, :1] - 0.5)
        return torch.cat([-margin, margin], dim=1)


def images(n: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((n, *SHAPE), dtype=np.float32)


def split(n: int, seed: int, wrong: int = 0) -> Split:
    """Labels are the judge's own, but for the first few."""
    pixels = images(n, seed)
    labels = (pixels[:, 0, 0, 0] > 0.5).astype(np.int64)
    labels[:wrong] = 1 - labels[:wrong]
    return Split(pixels, labels, np.arange(n, dtype=np.int64))


def stored(n: int, seed: int = 9) -> Samples:
    pixels = torch.from_numpy(images(n, seed))
    return Samples(pixels, torch.arange(n) % K, 1 + torch.arange(n))


@pytest.fixture
def splits() -> Splits:
    return Splits(split(60, 1), split(10, 2), split(40, 3))


def frechet(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Through a matrix square root, as the textbook has it."""
    a, b = a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64)
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + np.trace(ca + cb - 2 * np.real(sqrtm(ca @ cb))))


def number(outcome: Outcome, metric: str, argument: str = "") -> Number:
    (found,) = [n for n in outcome.numbers if (n.metric, n.argument) == (metric, argument)]
    return found


def test_by_hand(given: Callable[..., Any], splits: Splits, keeps_its_word: Callable[..., None]) -> None:
    config = GenerationConfig(items=30, columns=3)
    kept = stored(30)
    inputs = given(model=Generator(kept), judge=Brightness(), splits=splits)
    outcome = Generation().evaluate(config, inputs)
    keeps_its_word(Generation(), config, outcome)
    assert inputs.with_state == [True]

    train, test = splits.train.images, splits.test.images
    assert number(outcome, "fcd").value == pytest.approx(frechet(kept.images.numpy(), train), rel=1e-5)
    noise = np.random.default_rng(0).random((30, *SHAPE), dtype=np.float32)
    assert number(outcome, "fcd", "noise").value == pytest.approx(frechet(noise, train), rel=1e-5)
    # Forty test images in draws of thirty that have the class shares of the training images.
    shares = {c: float((splits.train.labels == c).mean()) for c in range(K)}
    draws = stratified_draws(splits.test.labels, 30, 50, 0, shares)
    for rows in draws:
        assert abs((splits.test.labels[rows] == 1).mean() - shares[1]) < 1 / 30
    expected = np.mean([frechet(test[rows], train) for rows in draws])
    assert number(outcome, "fcd", "real").value == pytest.approx(expected, rel=1e-5)

    def score(pixels: NDArray[Any]) -> float:
        margin = 8 * (pixels[:, 0, 0, 0].astype(np.float64) - 0.5)
        p = np.stack([1 / (1 + np.exp(2 * margin)), 1 / (1 + np.exp(-2 * margin))], axis=1)
        return float(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))

    assert number(outcome, "cs").value == pytest.approx(score(kept.images.numpy()), rel=1e-5)
    assert number(outcome, "cs", "noise").value == pytest.approx(score(noise), rel=1e-5)
    assert number(outcome, "cs", "real").value == pytest.approx(np.mean([score(test[rows]) for rows in draws]))
    agreement = number(outcome, "agreement")
    assert agreement.value == ((kept.images[:, 0, 0, 0].numpy() > 0.5) == (np.arange(30) % 2 == 1)).mean()
    kinds = {n.metric: n.interval.kind for n in outcome.numbers if n.interval is not None}
    whole = "jackknife over 20 groups, at n = 30"
    assert {name: kind.partition(", cut")[0] for name, kind in kinds.items()} == {
        **dict.fromkeys(("fcd", "cs", "kcd"), whole),
        "agreement": "wilson",
        "judge-precision": "wilson, for these real images",
        "judge-density": "t, for these real images",
        "nearest": "order statistics",
    }
    assert all(n.interval.low < n.interval.high for n in outcome.numbers if n.interval is not None)
    assert {n.n for n in outcome.numbers if (n.metric, n.argument) != ("nearest", "real")} == {30}
    assert outcome.details["judge_accuracy"] == 1.0
    assert outcome.details["judge_weights"] == "digest of the judge"
    assert outcome.details["median_age"] in (15.0, 16.0)


def test_kernel_distance_balls_and_nearest_images_by_hand(given: Callable[..., Any], splits: Splits) -> None:
    kept = stored(30)
    config = GenerationConfig(neighbour=2)
    outcome = Generation().evaluate(config, given(model=Generator(kept), judge=Brightness(), splits=splits))
    train = splits.train.images.reshape(60, 3).astype(np.float64)
    made = kept.images.numpy().reshape(30, 3).astype(np.float64)

    def own(rows: NDArray[Any]) -> float:
        values = (rows @ rows.T / 3 + 1) ** 3
        return float((values.sum() - values.trace()) / (len(rows) * (len(rows) - 1)))

    kernel = own(made) + own(train) - 2 * ((made @ train.T / 3 + 1) ** 3).mean()
    assert number(outcome, "kcd").value == pytest.approx(kernel, rel=1e-6)
    # The balls are of as many training images as there are samples, in the class shares of training.
    (rows,) = stratified_draws(splits.train.labels, 30, 1, 0)
    expected = prdc(train[rows], made, k=2)
    for name in ("precision", "recall", "density", "coverage"):
        assert number(outcome, f"judge-{name}").value == pytest.approx(getattr(expected, name)), name
    distances = cdist(made, train)
    nearest = number(outcome, "nearest")
    assert nearest.value == pytest.approx(np.median(distances.min(1)), rel=1e-6)
    assert number(outcome, "nearest", "real").n == 40
    order = outcome.items["ids"]  # slots of the buffer
    assert sorted(order.tolist()) == list(range(30))
    np.testing.assert_array_equal(outcome.items["nearest"], splits.train.ids[distances.argmin(1)[order]])
    np.testing.assert_allclose(outcome.items["nearest_distance"], distances.min(1)[order], rtol=1e-5)


def test_a_memorising_model_has_the_distance_zero(given: Callable[..., Any], splits: Splits) -> None:
    copies = Samples(torch.from_numpy(splits.train.images), torch.from_numpy(splits.train.labels), torch.ones(60))
    for space in ("pixels", "features"):
        config = GenerationConfig(nearest=space)
        outcome = Generation().evaluate(config, given(model=Generator(copies), judge=Brightness(), splits=splits))
        assert number(outcome, "nearest").value == 0
        assert (number(outcome, "nearest", "real").value or 0) > 0.05
        np.testing.assert_array_equal(outcome.items["nearest"], outcome.items["ids"])


def test_the_record_tells_how_many_slots_were_never_updated(given: Callable[..., Any], splits: Splits) -> None:
    kept = stored(40)
    kept.age[:7] = 0
    kept.age[7:12] = 1
    outcome = Generation().evaluate(
        GenerationConfig(selection="buffer-all"), given(model=Generator(kept), judge=Brightness(), splits=splits)
    )
    facts = outcome.details
    assert (facts["selection"], facts["slots"], facts["never_updated"], facts["updated_once"]) == (
        "buffer-all",
        40,
        7,
        5,
    )
    assert facts["samples"] == facts["candidates"] == 33


def test_extrapolation_is_an_option(
    given: Callable[..., Any], splits: Splits, keeps_its_word: Callable[..., None]
) -> None:
    config = GenerationConfig(infinity=True)
    outcome = Generation().evaluate(config, given(model=Generator(stored(300)), judge=Brightness(), splits=splits))
    keeps_its_word(Generation(), config, outcome)
    found = number(outcome, "fcd-infinity")
    assert (found.n, found.interval) == (300, None)
    assert found.value is not None
    assert found.value < (number(outcome, "fcd").value or 0)
    few = Generation().evaluate(config, given(model=Generator(stored(12)), judge=Brightness(), splits=splits))
    assert number(few, "fcd-infinity").reason == "the extrapolation needs at least 20 images"


def test_source_is_short_for_a_selection_and_must_not_contradict_it() -> None:
    assert GenerationConfig().chosen == GenerationConfig(source="buffer").chosen == "buffer-random-n"
    assert GenerationConfig(source="fresh").chosen == "fresh-k-steps"
    assert GenerationConfig(source="buffer", selection="buffer-all").chosen == "buffer-all"
    with pytest.raises(ValueError, match="contradict each other"):
        GenerationConfig(source="fresh", selection="buffer-all")


def test_all_samples_are_used_in_draws_as_large_as_those_of_real_images(
    given: Callable[..., Any], splits: Splits
) -> None:
    """The distance is biased by about 1/n, so unequal numbers would not compare. Labels of the test images allow draws
    of all but a few of them in the class shares of the training images.
    """
    model = Generator(stored(100))
    outcome = Generation().evaluate(GenerationConfig(), given(model=model, judge=Brightness(), splits=splits))
    facts = outcome.details
    assert (facts["samples"], facts["test_images"]) == (100, 40)
    assert 20 <= facts["draw"] <= 40
    assert {n.n for n in outcome.numbers if n.metric not in ("agreement", "nearest")} == {facts["draw"]}
    assert number(outcome, "agreement").n == 100
    outcome = Generation().evaluate(
        GenerationConfig(), given(model=Generator(stored(12)), judge=Brightness(), splits=splits)
    )
    assert {n.n for n in outcome.numbers if n.metric != "nearest"} == {12}


def test_the_number_hardly_depends_on_the_draw(given: Callable[..., Any], splits: Splits) -> None:
    """A subset at random moved the distance by a quarter of its value; the mean over draws moves by a part of its
    standard error.
    """
    model = Generator(stored(300))
    values, halves = [], []
    for seed in range(4):
        config = GenerationConfig(seed=seed)
        outcome = Generation().evaluate(config, given(model=model, judge=Brightness(), splits=splits))
        found = number(outcome, "fcd")
        assert found.value is not None
        assert found.interval is not None
        values.append(found.value)
        halves.append((found.interval.high - found.interval.low) / 2)
    assert np.std(values) < 0.25 * np.mean(halves)


def test_chains_that_were_made_for_no_class_have_no_agreement(
    given: Callable[..., Any], splits: Splits, keeps_its_word: Callable[..., None]
) -> None:
    """JEM's buffer: agreement with the model's own prediction would be another question under the same name."""
    kept = stored(30)
    nobody = Samples(kept.images, torch.full((30,), -1), kept.age)
    config = GenerationConfig()
    outcome = Generation().evaluate(config, given(model=Generator(nobody), judge=Brightness(), splits=splits))
    keeps_its_word(Generation(), config, outcome)
    agreement = number(outcome, "agreement")
    assert (agreement.value, agreement.n, agreement.reason) == (None, 0, "the images were made for no class")
    assert number(outcome, "fcd").value is not None
    # Of a mixed buffer only the images with a class take part.
    labels = torch.where(torch.arange(30) < 10, kept.labels, torch.tensor(-1))
    mixed = Samples(kept.images, labels, kept.age)
    outcome = Generation().evaluate(config, given(model=Generator(mixed), judge=Brightness(), splits=splits))
    right = (kept.images[:10, 0, 0, 0].numpy() > 0.5) == (np.arange(10) % 2 == 1)
    assert (number(outcome, "agreement").value, number(outcome, "agreement").n) == (right.mean(), 10)


def test_images_that_are_not_finite_leave_no_distance_but_a_reason(
    given: Callable[..., Any], splits: Splits, keeps_its_word: Callable[..., None]
) -> None:
    kept = stored(30)
    kept.images[:3] = float("nan")
    config = GenerationConfig()
    outcome = Generation().evaluate(config, given(model=Generator(kept), judge=Brightness(), splits=splits))
    keeps_its_word(Generation(), config, outcome)
    for metric in ("fcd", "cs"):
        assert number(outcome, metric).reason == "3 of 30 images have no finite features"
        assert number(outcome, metric, "real").value is not None
    agreement = number(outcome, "agreement")
    right = ((kept.images[:, 0, 0, 0].numpy() > 0.5) == (np.arange(30) % 2 == 1)) & (np.arange(30) >= 3)
    assert (agreement.value, agreement.not_finite) == (right.mean(), 3)
    assert agreement.note == "3 of 30 images have no finite features and count as not recognised"


def test_perfect_samples_are_as_near_as_real_images(given: Callable[..., Any], splits: Splits) -> None:
    train = torch.from_numpy(splits.train.images[:40])
    model = Generator(Samples(train, torch.from_numpy(splits.train.labels[:40]), torch.ones(40, dtype=torch.int64)))
    outcome = Generation().evaluate(GenerationConfig(), given(model=model, judge=Brightness(), splits=splits))
    value, real = number(outcome, "fcd").value, number(outcome, "fcd", "real").value
    assert value is not None
    assert real is not None
    assert value < 2 * real
    assert number(outcome, "agreement").value == 1.0


def test_a_judge_that_errs_measures_nothing(given: Callable[..., Any], keeps_its_word: Callable[..., None]) -> None:
    splits = Splits(split(60, 1), split(10, 2), split(40, 3, wrong=5))
    inputs = given(model=Generator(stored(30)), judge=Brightness(), splits=splits)
    outcome = Generation().evaluate(GenerationConfig(), inputs)
    keeps_its_word(Generation(), GenerationConfig(), outcome)
    judged = [n for n in outcome.numbers if n.metric != "nearest"]
    assert {n.value for n in judged} == {None}
    assert {n.reason for n in judged} == {"the judge is right on only 88% of the test images (least_judge = 0.9)"}
    assert number(outcome, "nearest").value is not None  # in pixels, without the judge
    assert "samples.png" in outcome.files


def test_fresh_chains(given: Callable[..., Any], splits: Splits, keeps_its_word: Callable[..., None]) -> None:
    config = GenerationConfig(source="fresh", items=20, steps=7)
    model = Generator(None)
    inputs = given(model=model, judge=Brightness(), splits=splits)
    outcome = Generation().evaluate(config, inputs)
    keeps_its_word(Generation(), config, outcome)
    assert model.steps == [7]
    assert inputs.with_state == [False]
    assert number(outcome, "agreement").value == 1.0


def test_the_picture_has_a_row_for_each_class(given: Callable[..., Any], splits: Splits) -> None:
    inputs = given(model=Generator(stored(30)), judge=Brightness(), splits=splits)
    outcome = Generation().evaluate(GenerationConfig(columns=4), inputs)
    image = Image.open(io.BytesIO(outcome.files["samples.png"]))
    # Two rows of 1x3 images, four a row, one pixel between them: 3 x 15 pixels, 160 times as large.
    assert image.size == (15 * 160, 3 * 160)


def test_definitions_come_from_the_parameters() -> None:
    columns = {(c.metric, c.argument): c for c in Generation().columns(GenerationConfig(source="fresh", steps=33))}
    for (_, argument), column in columns.items():
        # Real images and noise come from no chain.
        assert ("fresh chains, 33 steps" in column.definition) == (argument == "")
    assert len({column.definition for column in columns.values()}) == len(columns) == 3 * 8 + 1
    buffer = Generation().columns(GenerationConfig(items=123))
    own = [column for column in buffer if not column.argument]
    assert all("replay buffer" in column.definition and "at most 123" in column.definition for column in own)
    assert not any("buffer" in column.definition for column in buffer if column.argument)
    assert not any(word in column.label for column in buffer for word in ("FID", "IS"))


def test_it_needs_a_generative_family_and_the_judge() -> None:
    assert Generation().judge(GenerationConfig()) == JUDGE
    assert Generation().not_applicable(FAMILIES.get("softmax")) == "softmax does not generate"
    assert Generation().not_applicable(FAMILIES.get("gmmc-dis")) == "GMMC (Dis) does not generate"
    assert Generation().not_applicable(FAMILIES.get("jem")) is None


def test_cost_in_passes() -> None:
    family = FAMILIES.get("jem")
    assert Generation().passes(GenerationConfig(items=100), 1000, family) == 100
    assert Generation().passes(GenerationConfig(items=100, source="fresh", steps=30), 1000, family) == 100 * 61
