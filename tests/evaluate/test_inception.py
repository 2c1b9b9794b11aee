from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.data.spec import Split
from bench.data.splits import Splits
from bench.errors import BenchError
from bench.evaluate import inception_network
from bench.evaluate.inception import FID, FILE, SHA256_PREFIX, FIDConfig, weights_path
from bench.evaluate.inception_network import Inception, network_input
from bench.family import Classifier, Samples
from bench.metrics.frechet import GaussianStats
from bench.spec import FAMILIES

SHAPE = (1, 1, 3)


def silent(_: Any) -> None:
    pass


# --- the weights file -------------------------------------------------------------------------------------------


def test_where_the_weights_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BENCH_INCEPTION_WEIGHTS", raising=False)
    assert weights_path(tmp_path) is None
    missing = FID().missing(tmp_path)
    assert missing is not None
    assert "Inception weights" in missing
    (tmp_path / FILE).write_bytes(b"")
    assert weights_path(tmp_path) == tmp_path / FILE
    assert FID().missing(tmp_path) is None
    elsewhere = tmp_path / "mine.pth"
    monkeypatch.setenv("BENCH_INCEPTION_WEIGHTS", str(elsewhere))
    assert weights_path(tmp_path) is None
    elsewhere.write_bytes(b"")
    assert weights_path(tmp_path) == elsewhere


def test_the_name_of_the_file_ends_in_the_digest_that_is_checked() -> None:
    assert FILE.removesuffix(".pth").endswith(SHA256_PREFIX)


def test_a_file_with_another_digest_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"not a network")
    digest = hashlib.sha256(b"not a network").hexdigest()
    with pytest.raises(BenchError, match=f"begins {digest[:8]}, expected {SHA256_PREFIX}"):
        Inception(path, "cpu", published=SHA256_PREFIX)


# --- the network ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the FID Inception, as a plain state dict; large enough that images make a difference."""
    from pytorch_fid import inception

    torch.manual_seed(0)
    bare = inception._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    with mock.patch.object(inception, "load_state_dict_from_url", return_value=bare.state_dict()):
        network = inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(network.state_dict(), path)
    return path


def test_features_are_those_of_the_package_on_picture_files(weights: Path, tmp_path: Path) -> None:
    """The package's own way: PNG files, its resize and its network, batch by batch."""
    from PIL import Image
    from pytorch_fid import fid_score, inception

    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    files = []
    for index, image in enumerate(pixels):
        files.append(tmp_path / f"{index}.png")
        Image.fromarray(image).save(files[-1])
    state = torch.load(weights, weights_only=True)
    with mock.patch.object(inception, "load_state_dict_from_url", return_value=state):
        reference = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
    expected = fid_score.get_activations(files, reference, batch_size=2, dims=2048, device="cpu", num_workers=0)
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2) / np.float32(255))
    network = Inception(weights, "cpu")
    pool = network.features(images, silent)
    log_probs = network.log_probs(pool)
    assert (pool.dtype, log_probs.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(pool, expected, rtol=1e-4, atol=1e-5)
    # The oracle sees what the harness must not lose: scaling and content of the images.
    assert np.std(expected, axis=0).mean() > 0.02 * np.mean(expected)
    # The score's classifier: all 1008 classes, without bias.
    logits = pool.astype(np.float64) @ state["fc.weight"].double().numpy().T
    logits -= logits.max(1, keepdims=True)
    np.testing.assert_allclose(np.exp(log_probs), np.exp(logits) / np.exp(logits).sum(1, keepdims=True), atol=1e-9)
    assert network.digest == hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.slow
def test_grey_images_are_seen_in_three_channels_and_batches_do_not_matter(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Inception(weights, "cpu")
    grey = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    together = network.features(grey, silent)
    monkeypatch.setattr(inception_network, "BATCH", 2)
    apart = network.features(grey.expand(-1, 3, -1, -1), silent)
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)


def colour(n: int, side: int = 32) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_the_pixel_grids_by_hand() -> None:
    """A ramp tells where each output pixel lies in the source; 128 of 255 is 0 in the graph of TF1."""
    ramp = (torch.arange(32) / 31).expand(1, 1, 32, 32)
    row = network_input(ramp)[0, 1, 150]
    place = ((np.arange(299) + 0.5) * 32 / 299 - 0.5).clip(0, 31)
    np.testing.assert_allclose(row.numpy(), 2 * place / 31 - 1, atol=1e-5)
    row = network_input(ramp, resize="tf1")[0, 1, 150]
    place = (np.arange(299) * 32 / 299).clip(0, 31)
    np.testing.assert_allclose(row.numpy(), (255 * place / 31 - 128) / 128, atol=1e-5)
    rows = network_input(ramp.transpose(2, 3), resize="tf1")
    np.testing.assert_allclose(rows[0, 2, :, 7].numpy(), row.numpy(), atol=1e-6)
    assert rows.shape == (1, 3, 299, 299)


@pytest.mark.parametrize("resize", ["pytorch", "tf1"])
def test_grey_levels_are_rounded_and_not_truncated(resize: Any) -> None:
    levels = torch.tensor([0.0, 0.4, 0.6, 99.7, 200.2, 254.9])
    rounded = torch.tensor([0.0, 0.0, 1.0, 100.0, 200.0, 255.0])
    given, expected = ((x / 255)[:, None, None, None].expand(-1, 3, 4, 4) for x in (levels, rounded))
    found = network_input(given, resize=resize, pixels="uint8")
    torch.testing.assert_close(found, network_input(expected, resize=resize), atol=1e-6, rtol=0)
    assert not torch.allclose(network_input(given, resize=resize), found, atol=1e-4)


@pytest.mark.peer
def test_the_grid_of_tf1_is_that_of_torch_fidelity() -> None:
    peer = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    levels = (colour(2) * 255).round()
    expected = peer.interpolate_bilinear_2d_like_tensorflow1x(levels, size=(299, 299), align_corners=False)
    found = network_input(levels / 255, resize="tf1", pixels="uint8")
    torch.testing.assert_close(found, (expected - 128) / 128, atol=1e-6, rtol=0)


@pytest.mark.peer
def test_features_and_logits_are_those_of_torch_fidelity(weights: Path) -> None:
    """From shared random weights. It takes images of 8 bits alone, and resizes as TF1 did."""
    peer = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    extractor = peer.FeatureExtractorInceptionV3(
        "shared", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(weights)
    ).eval()
    images = colour(3)
    with torch.no_grad():
        expected, logits = extractor((images * 255).round().byte())
    network = Inception(weights, "cpu", resize="tf1", pixels="uint8")
    features = network.features(images, silent)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        network.log_probs(features), torch.log_softmax(logits.double(), dim=1).numpy(), atol=1e-4
    )
    # The modes are different numbers: a mistaken one would not pass.
    other = Inception(weights, "cpu", resize="pytorch", pixels="uint8").features(images, silent)
    assert np.abs(other - features).mean() > 1e-2 * np.abs(features - features.mean(0)).mean()


# --- the evaluation ---------------------------------------------------------------------------------------------


class Keeper(Classifier):
    def __init__(self, stored: Samples) -> None:
        super().__init__(10, SHAPE)
        self.weight = nn.Parameter(torch.zeros(()))
        self.stored = stored

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def classify(self, features: Tensor) -> Tensor:
        return torch.zeros(len(features), 10)

    def stored_samples(self) -> Samples:
        return self.stored


class Pixels:
    """Stands for Inception: features are the pixels, and the class is a tenth of the first one."""

    digest = "digest of the network"

    name, batch_size = "pixels", 7

    def __init__(self, path: Path, device: str, *, published: str, resize: str, pixels: str) -> None:
        assert path.name == FILE
        assert device == "cpu"

    def features(self, images: Tensor, progress: Any) -> NDArray[np.float32]:
        progress({"done": len(images), "total": len(images)})
        return images.flatten(1).numpy()

    def log_probs(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        classes = (features[:, 0] * 10).round().astype(int).clip(0, 9)
        return np.log(0.99 * np.eye(10)[classes] + 0.001)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("BENCH_INCEPTION_WEIGHTS", raising=False)
    monkeypatch.setattr(inception_network, "Inception", Pixels)
    (tmp_path / FILE).write_bytes(b"")
    return tmp_path


def sorted_samples(per_class: int) -> Samples:
    """A buffer as GMMC keeps it: sorted by class; the first pixel tells the class."""
    labels = torch.arange(10).repeat_interleave(per_class)
    images = torch.rand(len(labels), *SHAPE, generator=torch.Generator().manual_seed(0))
    images[:, 0, 0, 0] = labels / 10
    return Samples(images, labels, torch.ones_like(labels))


def images_of(n: int, seed: int = 1) -> Split:
    """Real images of ten classes, which the first pixel tells."""
    pixels = np.random.default_rng(seed).random((n, *SHAPE), dtype=np.float32)
    labels = np.arange(n, dtype=np.int64) % 10
    pixels[:, 0, 0, 0] = labels / 10
    return Split(pixels, labels, np.arange(n, dtype=np.int64))


def splits_of(train: int, test: int) -> Splits:
    return Splits(images_of(train), images_of(10), images_of(test, seed=2))


def test_a_sorted_buffer_scores_as_the_classes_that_it_has(
    given: Callable[..., Any], network: Path, keeps_its_word: Callable[..., None]
) -> None:
    """Ten splits of a buffer sorted by class would hold one class each: a score near 1 instead of near 10."""
    config = FIDConfig()
    model = Keeper(sorted_samples(100))
    outcome = FID().evaluate(config, given(model=model, splits=splits_of(50, 1000), weights_root=network))
    keeps_its_word(FID(), config, outcome)
    values = {(number.metric, number.argument): number.value for number in outcome.numbers}
    assert values["is", ""] is not None
    assert values["is", ""] > 8
    # Real images have the same classes; uniform noise has all of them too, but for the rounding of the extremes.
    assert values["is", "real"] == pytest.approx(values["is", ""], rel=0.02)
    drawn = [number for number in outcome.numbers if number.metric in ("fid", "is", "kid")]
    assert {number.n for number in drawn} == {1000}
    assert all(number.interval is not None for number in drawn)
    # Balls need equally many real images, and there are 50 for training.
    assert {number.n for number in outcome.numbers if number.metric == "coverage"} == {50}


def test_the_distance_is_to_all_training_images(given: Callable[..., Any], network: Path) -> None:
    stored, splits = sorted_samples(20), splits_of(50, 200)
    outcome = FID().evaluate(FIDConfig(splits=2), given(model=Keeper(stored), splits=splits, weights_root=network))

    def frechet(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
        root = np.sqrt(np.maximum(np.linalg.eigvals(ca @ cb).real, 0)).sum()
        return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca) + np.trace(cb) - 2 * root)

    train = splits.train.images.reshape(50, 3).astype(np.float64)
    values = {(number.metric, number.argument): number for number in outcome.numbers}
    made = frechet(stored.images.flatten(1).double().numpy(), train)
    assert values["fid", ""].value == pytest.approx(made, rel=1e-6)
    real = frechet(splits.test.images.reshape(200, 3).astype(np.float64), train)
    assert values["fid", "real"].value == pytest.approx(real, rel=1e-6)
    noise = np.random.default_rng(0).random((200, 3), dtype=np.float32).astype(np.float64)
    assert values["fid", "noise"].value == pytest.approx(frechet(noise, train), rel=1e-6)
    assert values["fid", ""].n == 200
    assert outcome.details["n_reference"] == 50
    assert outcome.details["inception_sha256"] == "digest of the network"


def test_a_file_of_statistics_takes_the_place_of_the_training_images(
    given: Callable[..., Any], network: Path, tmp_path: Path, keeps_its_word: Callable[..., None]
) -> None:
    """With the statistics of the training images the distance is the same; what needs their features is n/a."""
    splits = splits_of(50, 200)
    stats = GaussianStats.from_features(splits.train.images.reshape(50, 3))
    np.savez(tmp_path / "stats.npz", mu=stats.mean, sigma=stats.covariance)  # as pytorch-fid writes them
    config = FIDConfig(reference="stats.npz", infinity=True)
    model = Keeper(sorted_samples(20))

    def numbers(config: FIDConfig, **files: Path) -> dict[tuple[str, str], Any]:
        inputs = given(model=model, splits=splits, weights_root=network, files=files)
        outcome = FID().evaluate(config, inputs)
        keeps_its_word(FID(), config, outcome)
        return {(n.metric, n.argument): n for n in outcome.numbers} | {("details", ""): outcome.details}

    found, usual = numbers(config, reference=tmp_path / "stats.npz"), numbers(FIDConfig(infinity=True))
    for name in ("", "real", "noise"):
        assert found["fid", name].value == pytest.approx(usual["fid", name].value, rel=1e-9)
        assert found["fid-infinity", name].value == pytest.approx(usual["fid-infinity", name].value, rel=1e-9)
        assert "ref=stats.npz" in found["fid", name].definition
        for metric in ("kid", "precision", "recall", "density", "coverage"):
            assert "without features" in found[metric, name].reason
    assert found["is", ""].value == usual["is", ""].value
    # pytorch-fid's file does not say n: neither does the record, and the number says so.
    assert found["details", ""]["n_reference"] is None
    assert found["details", ""]["reference_sha256"] == "digest of the file"
    assert "does not say from how many images" in found["fid", ""].note
    stats.save(tmp_path / "ours.npz")
    ours = numbers(config, reference=tmp_path / "ours.npz")
    assert (ours["details", ""]["n_reference"], ours["fid", ""].note) == (50, None)


@pytest.mark.parametrize(("resize", "pixels"), [("pytorch", "float"), ("tf1", "uint8")])
def test_the_way_into_the_network_is_in_the_definition_and_in_the_key_of_features(resize: Any, pixels: Any) -> None:
    config = FIDConfig(resize=resize, pixels=pixels)
    fid = FID().columns(config)[0]
    assert ("TF1 resize, images rounded to 8 bits" in fid.definition) == (resize == "tf1")
    assert ("pytorch-fid resize, float images" in fid.definition) == (resize == "pytorch")
    assert FID().feature_network(config) == {"network": FILE, "resize": resize, "pixels": pixels}


def test_definitions_come_from_the_parameters() -> None:
    columns = {(c.metric, c.argument): c for c in FID().columns(FIDConfig(items=77, splits=3, source="fresh", steps=9))}
    fid, score = columns["fid", ""], columns["is", ""]
    assert "at most 77 images" in fid.definition
    assert "fresh chains, 9 steps" in fid.definition
    assert "ref=train" in fid.definition
    assert "3 splits" in score.definition
    assert fid.primary
    names = ("fid", "is", "kid", "precision", "recall", "density", "coverage", "nearest")
    assert set(columns) == {(metric, argument) for metric in names for argument in ("", "real", "noise")}
    assert all("held-out test images" in columns[metric, "real"].definition for metric in ("fid", "is"))
    assert (fid.controls, columns["is", "real"].controls) == (("real", "noise"), ())


def test_it_needs_a_generative_family() -> None:
    assert FID().not_applicable(FAMILIES.get("softmax")) == "softmax does not generate"
    assert FID().not_applicable(FAMILIES.get("gmmc-gen")) is None
