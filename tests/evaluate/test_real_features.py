"""Features of real images are measured once, shared, checked when read, and made again if they are damaged."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.spec import Split
from bench.evaluate.real_features import STATISTICS, RealFeatures, stored_features
from bench.metrics.frechet import GaussianStats
from bench.metrics.kernel import kernel_distance, kernel_distances
from bench.store import OUTPUTS, Store

KEY = "ab" + 38 * "0"


class Counted:
    """Features are pixels; every pass is counted."""

    name, batch_size = "pixels", 5

    def __init__(self, digest: str = "first weights", seconds: float = 0.0) -> None:
        self.digest, self.seconds, self.passes = digest, seconds, 0

    def features(self, images: Tensor, progress: Any) -> NDArray[np.float32]:
        self.passes += 1
        time.sleep(self.seconds)
        return images.flatten(1).numpy()

    def log_probs(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        raise NotImplementedError


@pytest.fixture
def split() -> Split:
    pixels = np.random.default_rng(0).random((20, 1, 2, 2), dtype=np.float32)
    return Split(pixels, np.arange(20) % 2, 100 + np.arange(20))


@pytest.fixture
def read(tmp_path: Path, split: Split) -> Callable[..., RealFeatures]:
    """Each call is that of another process: it opens the store again."""

    def ask(network: Counted, name: str = "train") -> RealFeatures:
        folder = Store(tmp_path).folder(KEY)
        return stored_features(folder, network, name, lambda: split, lambda _: None, {"dataset": "toy"})

    return ask


def test_they_are_measured_once_with_their_statistics(
    read: Callable[..., RealFeatures], split: Split, tmp_path: Path
) -> None:
    network = Counted()
    first, second = read(network), read(network)
    assert network.passes == 1
    pixels = split.images.reshape(20, 4)
    for found in (first, second):
        np.testing.assert_array_equal(found.features, pixels)
        assert found.features.dtype == np.float32
        assert found.stats is not None
        assert found.stats.n == 20
        np.testing.assert_array_equal(found.stats.covariance, GaussianStats.from_features(pixels).covariance)
        made = pixels[:7] + 0.1
        known = kernel_distances(made, found.features, [np.arange(7)], reference_mean=found.kernel_mean)
        assert known[0] == pytest.approx(kernel_distance(made, pixels, subset_size=None)[0], rel=1e-9)
    folder = Store(tmp_path).folder(KEY)
    record = folder.record()
    assert record is not None
    assert (record.job, record.kind, record.weights) == ("features/toy/pixels/train", "predict", "first weights")
    assert (record.prediction.n, record.passes) == (20, 20)
    assert set(record.artefacts) == {OUTPUTS, STATISTICS}
    assert folder.job() is not None
    # Whoever has pytorch-fid can read the statistics.
    with np.load(folder.file(STATISTICS)) as arrays:
        np.testing.assert_array_equal(arrays["mu"], found.stats.mean)


def test_held_out_images_need_no_statistics(read: Callable[..., RealFeatures], tmp_path: Path) -> None:
    found = read(Counted(), "test")
    assert (found.stats, found.kernel_mean) == (None, None)
    assert set(Store(tmp_path).folder(KEY).artefacts()) == {OUTPUTS}


def test_two_commands_at_once_measure_once(read: Callable[..., RealFeatures]) -> None:
    network = Counted(seconds=0.5)
    found: list[RealFeatures] = []
    threads = [threading.Thread(target=lambda: found.append(read(network))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert network.passes == 1
    assert len(found) == 3
    for one in found[1:]:
        np.testing.assert_array_equal(one.features, found[0].features)


@pytest.mark.parametrize("name", [OUTPUTS, STATISTICS])
@pytest.mark.parametrize("how", ["missing", "changed", "changed without a trace"])
def test_damaged_files_are_measured_again(
    read: Callable[..., RealFeatures], tmp_path: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Counted()
    before = read(network)
    path = Store(tmp_path).folder(KEY).file(name)
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    if how == "changed without a trace":  # as a failing disk does: times and size say nothing
        monkeypatch.setattr(
            "bench.store.folder.mark", lambda file: (Path(file).stat().st_size,) if Path(file).exists() else ()
        )
        (path.parent / "checked.json").unlink()
        sizes = {p: [path.with_name(p).stat().st_size] for p in (OUTPUTS, STATISTICS)}
        (path.parent / "checked.json").write_text(json.dumps(sizes))
    after = read(network)
    assert network.passes == 2
    np.testing.assert_array_equal(after.features, before.features)


def test_features_of_other_weights_do_not_count(read: Callable[..., RealFeatures]) -> None:
    read(Counted())
    other = Counted("second weights")
    read(other)
    read(other)
    assert other.passes == 1


def test_a_holder_that_fails_leaves_the_work_to_the_next(read: Callable[..., RealFeatures]) -> None:
    class Broken(Counted):
        def features(self, images: Tensor, progress: Any) -> NDArray[np.float32]:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        read(Broken())
    network = Counted()
    assert torch.from_numpy(read(network).features).shape == (20, 4)
    assert network.passes == 1
