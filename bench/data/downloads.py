"""Downloads published data sets through torchvision, when a person asks for it and never otherwise.

A download goes into a folder of its own below the data root and is verified there. Only then its files take their
places, so that files of a download that failed are never taken for the data set. torchvision downloads whole files and
skips files that are complete, so a download that is repeated continues with the file at which it ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import shutil
import socket
import urllib.error
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from bench.data import fashion_mnist, pictures, torchvision_sets
from bench.data.mnist import MNIST
from bench.errors import DamagedFileError, PrerequisiteError, RequestError, first_line, shortened
from bench.files.checksums import Checksum

__all__ = ["DOWNLOADS", "Download", "download", "fetch_file"]

PATIENCE = 60.0
"""Seconds without an answer of a server after which a download fails."""
_STANFORD = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
_CIFAR_C = {
    "CIFAR-10-C": ("https://zenodo.org/records/2535967/files/CIFAR-10-C.tar", "56bf5dcef84df0e2308c6dcbcbbd8499"),
    "CIFAR-100-C": ("https://zenodo.org/records/3555552/files/CIFAR-100-C.tar", "11f0ed0f1191edbf9fa23466ae6021d3"),
}
"""Address and published MD5 of the archives, by the folder in them."""
_CELEBA_FILES = ("img_align_celeba.zip", "list_eval_partition.txt")


@dataclass(frozen=True)
class Download:
    """How a data set, or a file of weights, is downloaded.

    Attributes:
        name: Name of the data set.
        size: Bytes that are downloaded, about.
        page: The page of its authors, where a person finds the files.
        fetch: Downloads and unpacks into a folder, in the layout of the root.
        units: What takes its place below the root, in this order: names of files and folders.
        unverified: What has no published checksums, as a remark; empty if everything has.
    """

    name: str
    size: int
    page: str
    fetch: Callable[[Path], None]
    units: tuple[str, ...]
    unverified: str = ""


def download(
    what: Download, root: Path, checksums: Callable[[Path], tuple[Checksum, ...]], layout: str | None = None
) -> None:
    """Download, verify, and only then put the files into their places.

    Args:
        what: What to download.
        root: The data root, or the weights folder; made if necessary.
        checksums: The files below a root with their published checksums.
        layout: What to put where by hand, for the message of a download that fails.

    Raises:
        PrerequisiteError: There is no network, the server refuses, the disk is too small, or the files are not the
            published ones; nothing below the root has changed. The message says what to do by hand.
        RequestError: Another process downloads the same.
    """
    stage = root / f".get-{what.name}"
    stage.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(stage).free
    if free < 2 * what.size:
        raise PrerequisiteError(
            f"{what.name} needs about {2 * what.size / 1e6:,.0f} MB while it is unpacked;"
            f" {root} has {free / 1e6:,.0f} MB free"
        )
    with _alone(what.name, stage):
        try:
            with _patience(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of NumPy, over pickles that NumPy 1 wrote
                what.fetch(stage)
            absent = [unit for unit in what.units if not (stage / unit).exists()]
            if absent:
                raise PrerequisiteError(f"{absent[0]} is not in what was downloaded")
            for file in checksums(stage):
                _verify(file)
        # torchvision, gdown and what they call may raise anything.
        except Exception as error:
            kept = [path for path in stage.rglob("*") if path.is_file() and path.name != _LOCK]
            if not kept:
                shutil.rmtree(stage)
            more = f"; what is complete is kept in {stage} for the next try" if kept else ""
            raise PrerequisiteError(
                f"{what.name} could not be downloaded: {_reason(error)}; nothing else below {root} was changed{more}."
                f" By hand: {what.page}{f'; {layout}' if layout else ''}"
            ) from error
        for unit in what.units:
            _place(stage / unit, root / unit, stage / "replaced" / unit)
        shutil.rmtree(stage)


_LOCK = "lock"


@contextlib.contextmanager
def _alone(name: str, stage: Path) -> Iterator[None]:
    """Hold the lock of a download.

    Raises:
        RequestError: Another process holds it.
    """
    with (stage / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(f"another command is downloading {name} into {stage.parent}") from None
        yield


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """A limit on the time without an answer, since torchvision sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _verify(file: Checksum) -> None:
    """Check a downloaded file, and delete it if it is damaged, so that the next try downloads it again.

    Raises:
        DamagedFileError: It is damaged.
    """
    try:
        file.read()
    except DamagedFileError:
        file.path.unlink(missing_ok=True)
        raise


def _place(new: Path, place: Path, aside: Path) -> None:
    """Move a file or folder to its place; what is there is moved aside first if it is a folder."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir():
        aside.parent.mkdir(parents=True, exist_ok=True)
        place.rename(aside)
    new.replace(place)


def _reason(error: Exception) -> str:
    """Why a download failed, in words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"{urlsplit(error.url or '').hostname or 'the server'} answers {error.code} ({error.reason})"
    if isinstance(error, urllib.error.URLError):
        return f"there is no network, or the server cannot be reached ({error.reason})"
    if isinstance(error, TimeoutError | ConnectionError | http.client.HTTPException):
        return f"the connection broke ({first_line(error)})"
    return shortened(" ".join(str(error).split())) or type(error).__name__


def fetch_file(url: str, folder: Path, name: str, md5: str | None = None) -> None:
    """Download one file through torchvision. A file that is there is kept if it has this MD5."""
    from torchvision.datasets import utils

    if md5 is None:  # torchvision would take any file for a complete one
        (folder / name).unlink(missing_ok=True)
    utils.download_url(url, str(folder), name, md5)


def _cifar10(stage: Path) -> None:
    from torchvision import datasets

    datasets.CIFAR10(str(stage), download=True)


def _cifar100(stage: Path) -> None:
    from torchvision import datasets

    datasets.CIFAR100(str(stage), download=True)


def _cifar_c(folder: str) -> Callable[[Path], None]:
    """Downloads and unpacks an archive; one that is complete is not downloaded again."""

    def fetch(stage: Path) -> None:
        from torchvision.datasets import utils

        address, md5 = _CIFAR_C[folder]
        fetch_file(address, stage, f"{folder}.tar", md5)
        utils.extract_archive(str(stage / f"{folder}.tar"))

    return fetch


def _svhn(stage: Path) -> None:
    from torchvision import datasets

    for part in ("train", "test"):
        url, name, md5 = datasets.SVHN.split_list[part]
        fetch_file(url, stage, name, md5)


def _mnist(stage: Path) -> None:
    from torchvision import datasets

    datasets.MNIST(str(stage), download=True)


def _fashion_mnist(stage: Path) -> None:
    from torchvision import datasets

    datasets.FashionMNIST(str(stage), download=True)


def _celeba(stage: Path) -> None:
    """The images and the one list that is read; torchvision's own class also wants the four others."""
    from torchvision import datasets
    from torchvision.datasets import utils

    folder = stage / "celeba"
    for file_id, md5, name in datasets.CelebA.file_list:
        if name in _CELEBA_FILES:
            utils.download_file_from_google_drive(file_id, str(folder), name, md5)
    utils.extract_archive(str(folder / _CELEBA_FILES[0]))


def _textures(stage: Path) -> None:
    from torchvision import datasets

    archive = stage / pictures.TEXTURES.archive
    fetch_file(datasets.DTD._URL, archive.parent, archive.name, datasets.DTD._MD5)


def _places365(stage: Path) -> None:
    from torchvision import datasets

    name, md5 = datasets.Places365._IMAGES_META["val", True]
    fetch_file(urljoin(datasets.Places365._BASE_URL, name), stage, name, md5)


def _tiny_imagenet(stage: Path) -> None:
    fetch_file(_STANFORD, stage, pictures.TINY_IMAGENET.archive, pictures.TINY_IMAGENET.md5)


_ALL = (
    Download(
        "cifar10", 170_498_071, "https://www.cs.toronto.edu/~kriz/cifar.html", _cifar10,
        tuple(torchvision_sets.CIFAR10.digests),
    ),
    Download(
        "cifar100", 169_001_437, "https://www.cs.toronto.edu/~kriz/cifar.html", _cifar100,
        tuple(torchvision_sets.CIFAR100.digests),
    ),
    Download(
        "cifar10-c", 2_918_471_680, "https://zenodo.org/records/2535967", _cifar_c("CIFAR-10-C"), ("CIFAR-10-C",)
    ),
    Download(
        "cifar100-c", 2_918_473_216, "https://zenodo.org/records/3555552", _cifar_c("CIFAR-100-C"), ("CIFAR-100-C",)
    ),
    Download(
        "svhn", 246_316_078, "http://ufldl.stanford.edu/housenumbers", _svhn, tuple(torchvision_sets.SVHN.digests)
    ),
    Download(
        "celeba", 1_446_000_000, "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html", _celeba,
        (torchvision_sets.CELEBA.folder, *torchvision_sets.CELEBA.digests),
        "its images have no published checksums",
    ),
    Download(
        "fashion-mnist", 30_878_645, "https://github.com/zalandoresearch/fashion-mnist", _fashion_mnist,
        tuple(f"FashionMNIST/raw/{name}.gz" for name in fashion_mnist.SHA256),
    ),
    Download("mnist", 11_594_722, "http://yann.lecun.com/exdb/mnist", _mnist, tuple(MNIST.digests)),
    Download(
        "textures", 625_239_812, "https://www.robots.ox.ac.uk/~vgg/data/dtd", _textures, (pictures.TEXTURES.archive,)
    ),
    Download(
        "places365", 525_000_000, "http://places2.csail.mit.edu/download.html (small images, validation)", _places365,
        (pictures.PLACES365.archive,),
    ),
    Download("tiny-imagenet", 248_100_043, _STANFORD, _tiny_imagenet, (pictures.TINY_IMAGENET.archive,)),
)  # fmt: skip

DOWNLOADS = {one.name: one for one in _ALL}
"""By name of the data set. The sizes are rounded where the published one is not known to the byte."""
