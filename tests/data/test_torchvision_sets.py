"""The loaders on tiny files in the true formats; torchvision's checksums are replaced with theirs."""

from __future__ import annotations

import hashlib
import io
import pickle
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from PIL import Image
from torchvision import datasets

from bench.data import torchvision_sets as sets
from bench.data.spec import DamagedData, Split
from bench.files.checksums import Checksum

RNG = np.random.default_rng(0)
LIKE = Split(np.zeros((1, 3, 32, 32), np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64))


class OldPickler(pickle.Pickler):
    """Writes dtypes as NumPy 1 did, with integers for flags, which newer versions of NumPy complain about."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype, ("u1", 0, 1), value.__reduce__()[2]
        return NotImplemented


def old_pickle(value: object) -> bytes:
    stream = io.BytesIO()
    OldPickler(stream, 2).dump(value)
    return stream.getvalue()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write(root: Path, files: dict[str, bytes]) -> dict[str, str]:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return {name: md5(content) for name, content in files.items()}


def publish(monkeypatch: pytest.MonkeyPatch, name: str, digests: dict[str, str]) -> None:
    """Take these files for the published ones of a set."""
    monkeypatch.setattr(sets, name.upper(), replace(getattr(sets, name.upper()), digests=digests))


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def call(load: Any, root: Path, like: Split | None = None) -> dict[str, Split]:
    raw: dict[str, Split] = load(root, like=like, image_shape=None, seed=0)
    return raw


CIFAR = {
    "cifar10": (
        "cifar-10-batches-py",
        [f"data_batch_{k}" for k in range(1, 6)],
        "test_batch",
        ("batches.meta", "label_names"),
        "labels",
        10,
    ),
    "cifar100": ("cifar-100-python", ["train"], "test", ("meta", "fine_label_names"), "fine_labels", 100),
}


def prepare_cifar(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[npt.NDArray[Any], list[int]]]:
    folder, train, test, (meta, key), label_key, classes = CIFAR[name]
    truth: dict[str, tuple[list[npt.NDArray[Any]], list[int]]] = {"train": ([], []), "test": ([], [])}
    files = {f"{folder}/{meta}": pickle.dumps({key: [str(k) for k in range(classes)]})}
    for part, batches in (("train", train), ("test", [test])):
        for batch in batches:
            rows = RNG.integers(256, size=(3, 3072)).astype(np.uint8)
            labels = RNG.integers(classes, size=3).tolist()
            entry = {"data": rows, label_key: labels, "batch_label": batch}
            if name == "cifar100":
                entry["coarse_labels"] = [0, 0, 0]
            files[f"{folder}/{batch}"] = old_pickle(entry)
            truth[part][0].append(rows)
            truth[part][1].extend(labels)
    sums = write(root, files)
    publish(monkeypatch, name, sums)
    reader = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    monkeypatch.setattr(reader, "train_list", [[batch, sums[f"{folder}/{batch}"]] for batch in train])
    monkeypatch.setattr(reader, "test_list", [[test, sums[f"{folder}/{test}"]]])
    monkeypatch.setattr(reader, "meta", {"filename": meta, "key": key, "md5": sums[f"{folder}/{meta}"]})
    return {part: (np.concatenate(rows), labels) for part, (rows, labels) in truth.items()}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_read_as_the_format_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = getattr(sets, f"load_{name}")
    assert getattr(sets, name.upper()).find(tmp_path) is not None
    truth = prepare_cifar(name, tmp_path, monkeypatch)
    assert getattr(sets, name.upper()).find(tmp_path) is None
    raw = call(load, tmp_path)
    assert set(raw) == {"train", "test"}
    for part, (rows, labels) in truth.items():
        # A row holds 1024 red, 1024 green and 1024 blue values, each plane row by row.
        np.testing.assert_array_equal(raw[part].images.reshape(len(rows), 3072), rows)
        assert raw[part].image_shape == (3, 32, 32)
        assert raw[part].labels.tolist() == labels
        assert raw[part].ids.tolist() == list(range(len(rows)))
    assert set(call(load, tmp_path, LIKE)) == {"test"}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_changed_pickle_is_refused_before_it_is_opened(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_cifar(name, tmp_path, monkeypatch)
    folder, _, test, *_ = CIFAR[name]
    flip_last_byte(tmp_path / folder / test)

    def never(*arguments: object, **keywords: object) -> None:
        pytest.fail("a file was unpickled before it was verified")

    monkeypatch.setattr(pickle, "load", never)
    with pytest.raises(DamagedData, match=f"{test} has MD5"):
        call(getattr(sets, f"load_{name}"), tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_what_torchvision_reads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_cifar(name, tmp_path, monkeypatch)
    reader = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    raw = call(getattr(sets, f"load_{name}"), tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
        theirs = {part: reader(str(tmp_path), train=part == "train", download=False) for part in ("train", "test")}
    for part, data in theirs.items():
        np.testing.assert_array_equal(raw[part].images, data.data.transpose(0, 3, 1, 2))
        assert raw[part].labels.tolist() == data.targets


def test_a_pickle_may_hold_arrays_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the checksum says: nothing of a file is executed."""
    prepare_cifar("cifar10", tmp_path, monkeypatch)
    name = "cifar-10-batches-py/data_batch_3"
    for hostile in (b"cos\nsystem\n(S'touch executed'\ntR.", b"cnumpy\nload\n(S'x'\ntR.", pickle.dumps(Path("x"))):
        publish(monkeypatch, "cifar10", {**sets.CIFAR10.digests, **write(tmp_path, {name: hostile})})
        with pytest.raises(DamagedData, match=r"data_batch_3 cannot be parsed \(it asks for"):
            call(sets.load_cifar10, tmp_path)


def changed_after(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is overwritten as soon as it was verified."""
    read = Checksum.read

    def slow(file: Checksum) -> bytes:
        content = read(file)
        file.path.write_bytes(b"changed")
        return content

    monkeypatch.setattr(Checksum, "read", slow)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "celeba"])
def test_what_is_parsed_is_what_was_verified(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes after its digest was taken used to be parsed as it had become."""
    if name == "svhn":
        prepare_svhn(tmp_path, monkeypatch)
    elif name == "celeba":
        prepare_celeba(tmp_path, monkeypatch, [0, 2, 2])
    else:
        prepare_cifar(name, tmp_path, monkeypatch)
    load = getattr(sets, f"load_{name}")
    expected = call(load, tmp_path)
    changed_after(monkeypatch)
    found = call(load, tmp_path)
    for part, split in expected.items():
        np.testing.assert_array_equal(found[part].images, split.images)
        np.testing.assert_array_equal(found[part].labels, split.labels)
    with pytest.raises(DamagedData, match="has MD5"):
        call(load, tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "celeba"])
def test_checksums_are_those_of_the_files(name: str, tmp_path: Path) -> None:
    published = getattr(sets, name.upper())
    files = published.checksums(tmp_path)
    assert {str(file.path.relative_to(tmp_path)): file.digest for file in files} == published.digests
    assert {file.algorithm for file in files} == {"md5"}


@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of NumPy, over dtypes that it frees
def test_every_damaged_byte_of_a_pickle_is_one_error_or_arrays(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With checksums that fit the damage: what guards the parser may fail, the parser may not."""
    prepare_cifar("cifar10", tmp_path, monkeypatch)
    file = "cifar-10-batches-py/test_batch"
    whole, told = (tmp_path / file).read_bytes(), 0
    # The first bytes are headers; the pixels that follow are alike.
    places = [*range(0, min(400, len(whole)), max(1, step // 20)), *range(400, len(whole), step)]
    for place in places:
        for damaged in (whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :], whole[:place]):
            publish(monkeypatch, "cifar10", {**sets.CIFAR10.digests, **write(tmp_path, {file: damaged})})
            try:
                call(sets.load_cifar10, tmp_path, LIKE)
            except DamagedData as error:
                told += 1
                assert str(error).startswith(f"{tmp_path / file} cannot be parsed")  # noqa: PT017 - none is right, too
    assert told > len(places) / 2


def test_no_damaged_byte_of_a_mat_file_reaches_its_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SciPy's reader ends the whole process over some damaged files, so it must never see one."""
    prepare_svhn(tmp_path, monkeypatch)
    monkeypatch.setattr(scipy.io, "loadmat", lambda *_: pytest.fail("a file was parsed before it was verified"))
    path = tmp_path / "test_32x32.mat"
    whole = path.read_bytes()
    for place in [*range(300), *range(300, len(whole), 97)]:
        for damaged in (whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :], whole[:place]):
            path.write_bytes(damaged)
            with pytest.raises(DamagedData, match=r"test_32x32\.mat has MD5"):
                call(sets.load_svhn, tmp_path, LIKE)


def prepare_svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    truth, files = {}, {}
    for part, labels in (("train", [1, 10, 9, 2]), ("test", [10, 3, 1])):
        pixels = RNG.integers(256, size=(32, 32, 3, len(labels))).astype(np.uint8)
        column = np.array(labels, dtype=np.uint8)[:, None]
        stream = io.BytesIO()
        scipy.io.savemat(stream, {"X": pixels, "y": column})
        files[f"{part}_32x32.mat"] = stream.getvalue()
        truth[part] = (pixels, column[:, 0])
    sums = write(root, files)
    publish(monkeypatch, "svhn", sums)
    parts = {part: ["", f"{part}_32x32.mat", sums[f"{part}_32x32.mat"]] for part in truth}
    monkeypatch.setattr(datasets.SVHN, "split_list", parts)
    return truth


def test_svhn_is_read_with_ten_as_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sets.SVHN.find(tmp_path) is not None
    truth = prepare_svhn(tmp_path, monkeypatch)
    assert sets.SVHN.find(tmp_path) is None
    raw = call(sets.load_svhn, tmp_path)
    for part, (pixels, labels) in truth.items():
        for index in range(len(labels)):
            np.testing.assert_array_equal(raw[part].images[index], pixels[..., index].transpose(2, 0, 1))
        assert raw[part].labels.tolist() == [int(label) % 10 for label in labels]
    assert set(call(sets.load_svhn, tmp_path, LIKE)) == {"test"}


def test_damaged_svhn_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_svhn(tmp_path, monkeypatch)
    flip_last_byte(tmp_path / "train_32x32.mat")
    with pytest.raises(DamagedData, match=r"train_32x32\.mat has MD5"):
        call(sets.load_svhn, tmp_path)


def prepare_celeba(root: Path, monkeypatch: pytest.MonkeyPatch, partition: list[int]) -> None:
    names = [f"{index + 1:06d}.jpg" for index in range(len(partition))]
    files = {
        "celeba/list_eval_partition.txt": "".join(
            f"{name} {part}\n" for name, part in zip(names, partition, strict=True)
        ).encode(),
    }
    sums = write(root, files)
    publish(monkeypatch, "celeba", sums)
    folder = root / "celeba" / "img_align_celeba"
    folder.mkdir()
    for index, name in enumerate(names):
        # Red inside the centre square, blue in the 20 rows above and below it that the crop must remove; the
        # green level names the image.
        pixels = np.zeros((218, 178, 3), np.uint8)
        pixels[:20, :, 2] = pixels[-20:, :, 2] = 255
        pixels[20:-20, :, 0] = 255
        pixels[..., 1] = 40 * index
        Image.fromarray(pixels).save(folder / name, format="JPEG", quality=100, subsampling=0)


def test_celeba_test_faces_are_cropped_to_the_centre_and_resized(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sets.CELEBA.find(tmp_path) is not None
    prepare_celeba(tmp_path, monkeypatch, [0, 2, 1, 2, 2])
    assert sets.CELEBA.find(tmp_path) is None
    raw = call(sets.load_celeba, tmp_path)
    assert set(raw) == {"test"}
    faces = raw["test"]
    assert faces.images.shape == (3, 3, 32, 32)
    assert faces.labels.tolist() == [-1, -1, -1]
    for image, index in zip(faces.images.astype(int), (1, 3, 4), strict=True):
        assert np.abs(image[1] - 40 * index).max() <= 8
        assert image[0, 2:-2].min() >= 245
        assert image[2, 2:-2].max() <= 10
        assert image[2].max() < 128  # no row of the border is left


def test_celeba_pixels_are_those_of_torchvisions_transforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import transforms

    prepare_celeba(tmp_path, monkeypatch, [2, 2])
    folder = tmp_path / "celeba" / "img_align_celeba"
    for name in ("000001.jpg", "000002.jpg"):
        noise = RNG.integers(256, size=(218, 178, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / name, format="JPEG", quality=95)
    transform = transforms.Compose([transforms.CenterCrop(178), transforms.Resize(32)])
    faces = call(sets.load_celeba, tmp_path)["test"]
    for image, name in zip(faces.images, ("000001.jpg", "000002.jpg"), strict=True):
        with Image.open(folder / name) as face:
            expected = np.asarray(transform(face.convert("RGB"))).transpose(2, 0, 1)
        np.testing.assert_array_equal(image, expected)


def test_damaged_celeba_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_celeba(tmp_path, monkeypatch, [2, 2])
    folder = tmp_path / "celeba" / "img_align_celeba"
    Image.new("RGB", (178, 178)).save(folder / "000002.jpg")
    with pytest.raises(DamagedData, match=r"000002\.jpg has 178x178 pixels, expected 178x218"):
        call(sets.load_celeba, tmp_path)
    (folder / "000002.jpg").unlink()
    with pytest.raises(DamagedData, match=r"000002\.jpg cannot be read"):
        call(sets.load_celeba, tmp_path)
    flip_last_byte(tmp_path / "celeba" / "list_eval_partition.txt")
    with pytest.raises(DamagedData, match=r"list_eval_partition\.txt has MD5"):
        call(sets.load_celeba, tmp_path)


def test_a_large_face_is_told_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_celeba(tmp_path, monkeypatch, [2, 2])
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    path = tmp_path / "celeba" / "img_align_celeba" / "000001.jpg"
    Image.new("L", (2000, 2000)).save(path, "PNG")
    with pytest.raises(DamagedData, match=r"000001\.jpg has 2000x2000 pixels, expected 178x218"):
        call(sets.load_celeba, tmp_path)
    for content in (b"", b"text", path.read_bytes()[:20]):
        path.write_bytes(content)
        with pytest.raises(DamagedData, match=r"000001\.jpg cannot be read"):
            call(sets.load_celeba, tmp_path)


def test_celeba_without_images_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_celeba(tmp_path, monkeypatch, [2, 2])
    folder = tmp_path / "celeba" / "img_align_celeba"
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert "img_align_celeba is not there" in str(sets.CELEBA.find(tmp_path))


def test_celeba_is_decoded_once_and_again_when_an_image_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_celeba(tmp_path, monkeypatch, [0, 2, 1, 2])
    first = call(sets.load_celeba, tmp_path)["test"].images
    with monkeypatch.context() as patch:
        patch.setattr(sets, "picture", lambda *_: pytest.fail("decoded again"))
        np.testing.assert_array_equal(call(sets.load_celeba, tmp_path)["test"].images, first)
        # An image of another part is not read.
        (tmp_path / "celeba" / "img_align_celeba" / "000001.jpg").unlink()
        np.testing.assert_array_equal(call(sets.load_celeba, tmp_path)["test"].images, first)
    Image.new("RGB", (178, 218), (9, 9, 9)).save(tmp_path / "celeba" / "img_align_celeba" / "000002.jpg")
    changed = call(sets.load_celeba, tmp_path)["test"].images
    assert (changed[0] == 9).all()
    np.testing.assert_array_equal(changed[1], first[1])
