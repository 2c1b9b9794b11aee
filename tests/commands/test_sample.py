"""``bench sample``: pictures from trained generative models."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from bench.api import Bench
from bench.cli.main import cli
from bench.commands import sample as sampling
from bench.commands.sample import draw
from bench.errors import RequestError
from bench.evaluate import samples
from bench_models.gmmc import GMMCClassifier

SUITE = """\
[suite]
name = "generative"
[data]
dataset = "digits"
[[model]]
family = "gmmc-gen"
backbone = "wrn-10-1"
epochs = 1
warmup = 0
[model.sampler]
steps = 2
buffer = 100
[[model]]
family = "jem"
backbone = "wrn-10-1"
epochs = 1
warmup = 0
[model.sampler]
steps = 2
buffer = 100
[[model]]
family = "softmax"
backbone = "wrn-10-1"
epochs = 1
[[model]]
family = "gmmc-dis"
backbone = "wrn-10-1"
epochs = 1
[[evaluation]]
kind = "accuracy"
"""

PROFILE = '[profile]\nname = "few"\n[caps]\ntrain = 192\nvalidation = 20\n'


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with all four models trained; nothing in it is changed."""
    root = tmp_path_factory.mktemp("generative")
    (root / "suites" / "profiles").mkdir(parents=True)
    (root / "bench.toml").write_text('[paths]\nresults = "results"\nweights = "weights"\n')
    (root / "suites" / "generative.toml").write_text(SUITE)
    (root / "suites" / "profiles" / "few.toml").write_text(PROFILE)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BENCH_DATA", "BENCH_RESULTS", "BENCH_WEIGHTS"):
            patch.delenv(name, raising=False)
        outcome = Bench.here(root).run(
            root / "suites" / "generative.toml",
            profile=str(root / "suites" / "profiles" / "few.toml"),
            only=("*/train",),
            in_process=True,
            device="cpu",
        )
        assert outcome.exit_code() == 0
        yield root


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


def sample(root: Path, out: Path, model: str = "gmmc-gen", **options: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "suite": str(root / "suites" / "generative.toml"),
        "profile": str(root / "suites" / "profiles" / "few.toml"),
        "count": 20,
        "classes": (),
        "steps": None,
        "source": "fresh",
        "seed": 0,
        "device": "cpu",
        **options,
    }
    return draw(Bench.here(root), model, out=out, **values)


def cells(path: Path, rows: int, columns: int) -> NDArray[np.uint8]:
    """The images of a picture, (rows, columns, 8, 8): each has 8x8 pixels and a line of grey after it."""
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("L"))
    height, width = rows * 9 - 1, columns * 9 - 1
    factor = pixels.shape[0] // height
    assert pixels.shape == (height * factor, width * factor)
    small = pixels[::factor, ::factor]
    padded = np.pad(small, ((0, 1), (0, 1))).reshape(rows, 9, columns, 9).swapaxes(1, 2)
    return padded[:, :, :8, :8]


@pytest.mark.parametrize("model", ["gmmc-gen", "jem"])
def test_a_picture_with_a_row_for_each_class(here: Path, tmp_path: Path, model: str) -> None:
    facts = sample(here, tmp_path / "new" / "a.png", model)
    images = cells(tmp_path / "new" / "a.png", 10, 2)
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20
    assert facts["n"] == 20
    assert [(row["class"], row["n"]) for row in facts["classes"]] == [(label, 2) for label in range(10)]
    for row in facts["classes"]:
        assert 0 <= row["confidence"] <= 1
        assert 0 <= row["agreement"] <= 1


@pytest.mark.parametrize("model", ["gmmc-gen", "jem"])
def test_pictures_are_those_of_the_model(here: Path, tmp_path: Path, model: str) -> None:
    """Drawn again by hand: the image of class 3 at place 1, alone."""
    sample(here, tmp_path / "a.png", model, seed=4)
    network = Bench.here(here).load_model(model)
    alone = network.sample(torch.tensor([3]), seed=4, index=torch.tensor([3 * 1_000_003 + 1]))
    expected = (alone * 255).round().byte().numpy()[0, 0]
    np.testing.assert_array_equal(cells(tmp_path / "a.png", 10, 2)[3, 1], expected)


def test_energy_and_confidence_by_hand(here: Path, tmp_path: Path) -> None:
    facts = sample(here, tmp_path / "a.png", classes=(3,), count=5)
    network = Bench.here(here).load_model("gmmc-gen")
    index = 3 * 1_000_003 + torch.arange(5)
    with torch.no_grad():
        logits = network(network.sample(torch.full((5,), 3), seed=0, index=index))
    (row,) = facts["classes"]
    assert row["energy"] == pytest.approx(-float(logits[:, 3].mean()), rel=1e-5)
    assert row["confidence"] == pytest.approx(float(torch.softmax(logits, 1)[:, 3].mean()), rel=1e-4, abs=1e-9)
    assert row["agreement"] == pytest.approx(float((logits.argmax(1) == 3).double().mean()))


@pytest.mark.parametrize("model", ["gmmc-gen", "jem"])
def test_more_classes_and_more_images_change_none_of_the_others(here: Path, tmp_path: Path, model: str) -> None:
    few, more = tmp_path / "few.png", tmp_path / "more.png"
    sample(here, few, model, classes=(2, 5), count=4)
    sample(here, more, model, count=50)
    np.testing.assert_array_equal(cells(few, 2, 2), cells(more, 10, 5)[[2, 5], :2])


def test_the_seed_and_the_steps_do(here: Path, tmp_path: Path) -> None:
    paths = []
    several: list[dict[str, Any]] = [{}, {"seed": 1}, {"steps": 7}]
    for i, options in enumerate(several):
        paths.append(tmp_path / f"{i}.png")
        sample(here, paths[-1], **options)
    first, seed, steps = (cells(path, 10, 2) for path in paths)
    assert (first != seed).any(axis=(2, 3)).all()
    assert (first != steps).any()


def test_classes_in_the_order_in_which_they_were_asked_for_and_once(here: Path, tmp_path: Path) -> None:
    sample(here, tmp_path / "a.png", classes=(7, 1), count=4)
    facts = sample(here, tmp_path / "b.png", classes=(1, 7, 1), count=4)
    assert [row["class"] for row in facts["classes"]] == [1, 7]
    np.testing.assert_array_equal(cells(tmp_path / "a.png", 2, 2)[::-1], cells(tmp_path / "b.png", 2, 2))


def test_a_number_that_the_classes_do_not_divide(here: Path, tmp_path: Path) -> None:
    facts = sample(here, tmp_path / "a.png", classes=(0, 1), count=5)
    assert facts["n"] == 5
    assert sum(row["n"] for row in facts["classes"]) == 5


@pytest.mark.parametrize(("count", "expected"), [(5, [1] * 5), (12, [2, 2] + [1] * 8), (10, [1] * 10)])
@pytest.mark.parametrize("source", ["fresh", "buffer"])
def test_as_many_as_were_asked_for_spread_over_all_classes(
    here: Path, tmp_path: Path, source: str, count: int, expected: list[int]
) -> None:
    """5 of ten classes used to be 10 from the buffer, and 12 new ones those of six classes."""
    facts = sample(here, tmp_path / "a.png", count=count, source=source)
    assert facts["n"] == count
    assert [row["n"] for row in facts["classes"]] == expected
    assert cells(tmp_path / "a.png", len(expected), max(expected)).shape[:2] == (len(expected), max(expected))


class TestBuffer:
    def test_the_longest_lived_chains_of_each_class(self, here: Path, tmp_path: Path) -> None:
        facts = sample(here, tmp_path / "a.png", source="buffer", classes=(3, 8), count=6)
        stored = Bench.here(here).load_model("gmmc-gen").stored_samples()
        assert stored is not None
        images = cells(tmp_path / "a.png", 2, 3)
        for row, label in enumerate((3, 8)):
            own = (stored.labels == label) & (stored.age > 0)
            left = {tuple(image.flatten()) for image in (stored.images[own] * 255).round().byte().numpy()}
            assert all(tuple(image.flatten()) in left for image in images[row])
            oldest = stored.age[own].sort(descending=True).values[:3]
            chosen = [
                int(stored.age[own][[tuple(i.flatten()) == tuple(image.flatten()) for i in pixels].index(True)])
                for pixels in [(stored.images[own] * 255).round().byte().numpy()]
                for image in images[row]
            ]
            assert sorted(chosen, reverse=True) == oldest.tolist()
        assert facts["source"] == "buffer"
        assert [row["n"] for row in facts["classes"]] == [3, 3]

    def test_chains_of_no_class_go_to_the_one_that_the_model_says(self, here: Path, tmp_path: Path) -> None:
        facts = sample(here, tmp_path / "a.png", "jem", source="buffer", count=50)
        assert facts["classes"]
        assert all(row["agreement"] == 1 for row in facts["classes"])

    def test_a_class_that_holds_fewer_leaves_its_places_to_the_others(self, here: Path, tmp_path: Path) -> None:
        stored = Bench.here(here).load_model("jem").stored_samples()
        assert stored is not None
        used = int((stored.age > 0).sum())
        facts = sample(here, tmp_path / "a.png", "jem", source="buffer", count=used)
        assert facts["n"] == sum(row["n"] for row in facts["classes"]) == used
        with pytest.raises(RequestError, match=f"{used + 1} images: the buffer holds {used} that are no longer"):
            sample(here, tmp_path / "b.png", "jem", source="buffer", count=used + 1)
        with pytest.raises(RequestError, match=r"the buffer holds \d+ of these classes"):
            sample(here, tmp_path / "b.png", "jem", source="buffer", count=used, classes=(3,))

    def test_steps_are_not_for_the_buffer(self, here: Path, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="steps are for fresh chains"):
            sample(here, tmp_path / "a.png", source="buffer", steps=3)


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"classes": (10,)}, "class 10: expected 0 to 9"),
            ({"classes": (-1,)}, "class -1: expected 0 to 9"),
            ({"count": 0}, "0 images: expected at least 1"),
            ({"steps": -1}, "-1 steps: expected 0 to 100,000"),
            ({"model": "gmmc"}, "no model 'gmmc' in suite generative; did you mean"),
            ({"model": "softmax"}, "softmax: LinearClassifier cannot generate images"),
            ({"model": "gmmc-dis"}, r"gmmc-dis: GMMC \(Dis\) was not trained to generate"),
            ({"model": "softmax", "source": "buffer"}, "the model kept no samples from training"),
        ],
    )
    def test_are_wrong_requests(self, here: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(RequestError, match=message):
            sample(here, tmp_path / "a.png", **options)
        assert not (tmp_path / "a.png").exists()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"out": "a.jpg"}, "a.jpg: the picture is a PNG; give a name that ends in .png"),
            ({"out": "a"}, "ends in .png"),
            ({"count": -3}, "-3 images"),
            ({"steps": -1}, "-1 steps"),
            ({"device": "gpu"}, "'gpu' is no device: expected cpu"),
            ({"device": "cuda:99"}, "no device cuda:99: "),
        ],
    )
    def test_are_told_before_anything_is_loaded(
        self, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
    ) -> None:
        def load(*_: object, **__: object) -> None:
            raise AssertionError("a model was loaded")

        monkeypatch.setattr(Bench, "load_model", load)
        out = tmp_path / str(options.pop("out", "a.png"))
        with pytest.raises(RequestError, match=message):
            sample(here, out, **options)
        assert not list(tmp_path.iterdir())


class TestCommand:
    def invoke(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, ["sample", *arguments], catch_exceptions=False)

    def test_lines_for_a_person(self, here: Path, tmp_path: Path) -> None:
        out = tmp_path / "grid.png"
        result = self.invoke("gmmc-gen", "--n", "6", "--class", "3", "--class", "4", "--out", str(out))
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        assert lines[0] == f"6 images in {out}"
        assert lines[1].startswith("class 3: 3 images, mean energy ")
        assert "classified as intended" in lines[2]
        assert cells(out, 2, 3).shape == (2, 3, 8, 8)

    def test_json(self, here: Path, tmp_path: Path) -> None:
        out = tmp_path / "grid.png"
        result = self.invoke(
            "jem/digits/seed1", "--n", "2", "--class", "3", "--steps", "0", "--out", str(out), "--json"
        )
        facts = json.loads(result.stdout)
        assert facts["schema"] == 1
        assert (facts["n"], facts["source"], facts["out"]) == (2, "fresh", str(out))
        assert facts["classes"][0]["class"] == 3

    def test_a_classifier_that_cannot(self, here: Path, tmp_path: Path) -> None:
        result = self.invoke("softmax", "--out", str(tmp_path / "a.png"))
        assert result.exit_code == 2
        assert result.stderr.startswith("bench: softmax: ")
        assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 10_001}, "10,001 images: the limit is 10,000"),
        ({"count": 10**30}, "the limit is 10,000"),
        ({"steps": 10**30}, "expected 0 to 100,000"),
        ({"steps": -1}, "expected 0 to 100,000"),
    ],
)
def test_a_number_without_measure_is_refused_before_anything_is_built(
    tmp_path: Path, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bench, "load_model", lambda *_, **__: pytest.fail("a model was built"))
    with pytest.raises(RequestError, match=message):
        sample(tmp_path, tmp_path / "a.png", **options)


def test_a_picture_is_measured_before_anything_is_drawn(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "PIXELS", 10 * 2 * 81)
    assert sample(here, tmp_path / "a.png")["n"] == 20
    monkeypatch.setattr(GMMCClassifier, "sample", lambda *_, **__: pytest.fail("drawn"))
    with pytest.raises(RequestError, match=r"10 x 3 images of 8x8 pixels: .* 2,430 pixels; the limit is 1,620"):
        sample(here, tmp_path / "a.png", count=21)


def test_a_long_row_is_not_enlarged_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One class of 10,000 small images used to ask for a picture of 2.6 thousand million pixels."""
    row = np.zeros((8, 800, 1), np.uint8)
    monkeypatch.setattr(samples, "PIXELS", 9 * 8 * 800)
    with Image.open(io.BytesIO(samples.picture(row))) as picture:
        assert picture.size == (3 * 800, 3 * 8)
    monkeypatch.setattr(samples, "PIXELS", 1)
    with Image.open(io.BytesIO(samples.picture(row))) as picture:
        assert picture.size == (800, 8)
