"""Downloads from a server on this machine, with torchvision's addresses and checksums replaced by its own."""

from __future__ import annotations

import gc
import gzip
import hashlib
import http.server
import io
import shutil
import socket
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torchvision
from torchvision.datasets import utils

from bench.data import cifar_c, downloads, fashion_mnist, mnist, pictures
from bench.data import torchvision_sets as sets
from bench.data.downloads import DOWNLOADS, Download, download
from bench.data.published import PublishedFiles
from bench.errors import PrerequisiteError, RequestError
from bench.files.checksums import Checksum
from tests.data.test_cifar_c import FOLDERS, prepare_cifar_c
from tests.data.test_fashion_mnist import FILES
from tests.data.test_pictures import contents, pack
from tests.data.test_torchvision_sets import CIFAR, prepare_celeba, prepare_cifar, prepare_svhn

# torchvision leaves responses of servers open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@dataclass
class Server:
    """Files by path, and the paths that were asked for.

    Attributes:
        files: Content by path; any other path is answered with 404.
        cut: Paths of which only the first half is sent.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            own.asked.append(self.path)
            content = own.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if self.path in own.cut else content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        own = Server(f"http://127.0.0.1:{running.server_port}")
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield own
        running.shutdown()
    gc.collect()  # what is left open is closed here, not in another test


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def get(name: str, root: Path, files: PublishedFiles | pictures.Pictures) -> None:
    download(DOWNLOADS[name], root, files.checksums)


def offer_svhn(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    source = tmp_path / "published"
    prepare_svhn(source, monkeypatch)
    files = {name: (source / name).read_bytes() for name in sets.SVHN.digests}
    server.files.update({f"/{name}": content for name, content in files.items()})
    parts = {
        part: [f"{server.address}/{part}_32x32.mat", f"{part}_32x32.mat", sets.SVHN.digests[f"{part}_32x32.mat"]]
        for part in ("train", "test")
    }
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", parts)
    return files


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(name: str, server: Server, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_cifar(name, tmp_path / "published", monkeypatch)
    folder = CIFAR[name][0]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        tar.add(tmp_path / "published" / folder, folder)
    reader = getattr(torchvision.datasets, name.upper())
    monkeypatch.setattr(reader, "url", f"{server.address}/{reader.filename}")
    monkeypatch.setattr(reader, "tgz_md5", md5(stream.getvalue()))
    server.files[f"/{reader.filename}"] = stream.getvalue()
    files = getattr(sets, name.upper())
    get(name, root, files)
    assert files.find(root) is None
    assert [path.name for path in root.iterdir()] == [folder]  # neither the archive nor the folder of the download
    for file in files.checksums(root):
        file.read()


@pytest.mark.parametrize("name", FOLDERS)
def test_corrupted_cifar(
    name: str, server: Server, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, files = FOLDERS[name]
    prepare_cifar_c(name, tmp_path / "published", monkeypatch, [0, 1])
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(tmp_path / "published" / folder, folder)
    server.files[f"/{folder}.tar"] = stream.getvalue()
    address = f"{server.address}/{folder}.tar"
    monkeypatch.setitem(downloads._CIFAR_C, folder, (address, "0" * 32))
    with pytest.raises(PrerequisiteError, match=rf"{name} could not be downloaded: File not found or corrupted"):
        get(name, root, getattr(cifar_c, files))
    monkeypatch.setitem(downloads._CIFAR_C, folder, (address, md5(stream.getvalue())))
    get(name, root, getattr(cifar_c, files))
    assert [path.name for path in root.iterdir()] == [folder]  # neither the archive nor the folder of the download
    assert getattr(cifar_c, files).find(root) is None
    for file in getattr(cifar_c, files).checksums(root):
        file.read()


def test_svhn(server: Server, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = offer_svhn(server, tmp_path, monkeypatch)
    get("svhn", root, sets.SVHN)
    assert {path.name: path.read_bytes() for path in root.iterdir()} == files


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_idx_files(name: str, server: Server, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in FILES.items()}
    sums = {file: md5(content) for file, content in packed.items()}
    reader = {"mnist": torchvision.datasets.MNIST, "fashion-mnist": torchvision.datasets.FashionMNIST}[name]
    monkeypatch.setattr(reader, "mirrors", [f"{server.address}/gone/", f"{server.address}/"])
    monkeypatch.setattr(reader, "resources", list(sums.items()))
    server.files.update({f"/{file}": content for file, content in packed.items()})
    if name == "mnist":
        monkeypatch.setattr(
            mnist, "MNIST", replace(mnist.MNIST, digests={f"MNIST/raw/{file}": sum_ for file, sum_ in sums.items()})
        )
        get(name, root, mnist.MNIST)
        assert mnist.MNIST.find(root) is None
    else:
        monkeypatch.setattr(fashion_mnist, "DEBIAN", root / "none")
        own = {file: hashlib.sha256(content).hexdigest() for file, content in FILES.items()}
        monkeypatch.setattr(fashion_mnist, "SHA256", own)
        download(DOWNLOADS[name], root, fashion_mnist.checksums)
        assert fashion_mnist.find(root) is None


@pytest.mark.parametrize("name", ["textures", "places365", "tiny-imagenet"])
def test_archives_of_pictures(
    name: str, server: Server, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = getattr(pictures, name.upper().replace("-", "_"))
    archive = tmp_path / Path(published.archive).name
    sum_ = pack(archive, contents(name))
    monkeypatch.setattr(pictures, name.upper().replace("-", "_"), replace(published, md5=sum_))
    monkeypatch.setattr(torchvision.datasets.DTD, "_URL", f"{server.address}/{archive.name}")
    monkeypatch.setattr(torchvision.datasets.DTD, "_MD5", sum_)
    monkeypatch.setattr(torchvision.datasets.Places365, "_BASE_URL", f"{server.address}/")
    monkeypatch.setitem(torchvision.datasets.Places365._IMAGES_META, ("val", True), (archive.name, sum_))
    monkeypatch.setattr(downloads, "_STANFORD", f"{server.address}/{archive.name}")
    server.files[f"/{archive.name}"] = archive.read_bytes()
    get(name, root, replace(published, md5=sum_))
    assert published.find(root) is None
    assert (root / published.archive).read_bytes() == archive.read_bytes()
    assert not list(root.glob(".get-*"))


def test_celeba_asks_google_for_two_files(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "published"
    prepare_celeba(source, monkeypatch, [0, 2])
    asked = []

    def give(file_id: str, folder: str, name: str, md5: str) -> None:
        del file_id, md5
        asked.append(name)
        Path(folder).mkdir(parents=True, exist_ok=True)
        if name.endswith(".zip"):
            shutil.make_archive(str(Path(folder) / Path(name).stem), "zip", source / "celeba", "img_align_celeba")
        else:
            (Path(folder) / name).write_bytes((source / "celeba" / name).read_bytes())

    monkeypatch.setattr(utils, "download_file_from_google_drive", give)
    get("celeba", root, sets.CELEBA)
    assert sorted(asked) == ["img_align_celeba.zip", "list_eval_partition.txt"]
    assert sets.CELEBA.find(root) is None
    assert len(sets.load_celeba(root, like=None, image_shape=None, seed=0)["test"]) == 1


def test_google_may_refuse(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Too many users have viewed or\n downloaded this file recently.")

    monkeypatch.setattr(utils, "download_file_from_google_drive", refuse)
    with pytest.raises(PrerequisiteError) as caught:
        download(DOWNLOADS["celeba"], root, sets.CELEBA.checksums, sets.CELEBA.find(root))
    text = str(caught.value)
    assert text.startswith(
        "celeba could not be downloaded: Too many users have viewed or downloaded this file recently.;"
    )
    assert "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html; celeba/list_eval_partition.txt not found below" in text
    assert list(root.iterdir()) == []


def test_without_network_nothing_is_left(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", f"http://127.0.0.1:{port}/cifar.tar.gz")
    with pytest.raises(PrerequisiteError, match=r"there is no network, or the server cannot be reached .* was changed"):
        get("cifar10", root, sets.CIFAR10)
    assert list(root.iterdir()) == []


def test_a_server_that_does_not_answer_is_given_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PATIENCE", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/cifar.tar.gz"
        monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", address)
        with pytest.raises(PrerequisiteError, match=r"timed out|the connection broke"):
            get("cifar10", root, sets.CIFAR10)
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("fault", ["missing", "cut", "changed"])
def test_a_failed_download_is_no_data_set_and_continues_with_the_file_at_which_it_ended(
    fault: str, server: Server, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = offer_svhn(server, tmp_path, monkeypatch)
    if fault == "cut":
        server.cut.add("/test_32x32.mat")
    else:
        server.files.pop("/test_32x32.mat")
        server.files.update({"/test_32x32.mat": b"changed"} if fault == "changed" else {})
    with pytest.raises(PrerequisiteError) as caught:
        get("svhn", root, sets.SVHN)
    expected = "127.0.0.1 answers 404 (Not Found)" if fault == "missing" else "File not found or corrupted."
    assert f"svhn could not be downloaded: {expected};" in str(caught.value)
    assert f"what is complete is kept in {root / '.get-svhn'} for the next try" in str(caught.value)
    assert str(sets.SVHN.find(root)).startswith("train_32x32.mat and 1 more not found")
    server.cut.clear()
    server.files["/test_32x32.mat"] = files["test_32x32.mat"]
    server.asked.clear()
    get("svhn", root, sets.SVHN)
    assert set(server.asked) == {"/test_32x32.mat"}
    assert {path.name: path.read_bytes() for path in root.iterdir()} == files


def test_damaged_files_are_replaced(
    server: Server, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = offer_svhn(server, tmp_path, monkeypatch)
    root.mkdir()
    (root / "train_32x32.mat").write_bytes(b"damaged")
    (root / "notes.txt").write_text("mine")
    get("svhn", root, sets.SVHN)
    assert (root / "train_32x32.mat").read_bytes() == files["train_32x32.mat"]
    assert (root / "notes.txt").read_text() == "mine"


def tiny(name: str, fetched: dict[str, bytes]) -> Download:
    def fetch(stage: Path) -> None:
        for file, content in fetched.items():
            (stage / file).parent.mkdir(parents=True, exist_ok=True)
            (stage / file).write_bytes(content)

    return Download(name, 10, "https://example.org", fetch, ("folder", "file"))


def checksums(root: Path) -> tuple[Checksum, ...]:
    return (Checksum(root / "file", md5(b"right"), "md5"),)


def test_what_is_not_as_published_takes_no_place(root: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"file has MD5 \w+, expected"):
        download(tiny("x", {"file": b"wrong", "folder/a": b"new"}), root, checksums)
    assert [path.name for path in root.iterdir()] == [".get-x"]
    assert not (root / ".get-x" / "file").exists()  # downloaded again by the next try
    with pytest.raises(PrerequisiteError, match="folder is not in what was downloaded"):
        download(tiny("y", {"file": b"right"}), root, checksums)


def test_a_folder_takes_its_place_as_a_whole(root: Path) -> None:
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "old").write_bytes(b"old")
    download(tiny("x", {"file": b"right", "folder/a": b"new"}), root, checksums)
    assert [path.name for path in (root / "folder").iterdir()] == ["a"]
    assert sorted(path.name for path in root.iterdir()) == ["file", "folder"]


def test_one_download_at_a_time(root: Path) -> None:
    def fetch(stage: Path) -> None:
        with pytest.raises(RequestError, match="another command is downloading x"):
            download(tiny("x", {}), root, checksums)
        (stage / "folder").mkdir()
        (stage / "file").write_bytes(b"right")

    download(replace(tiny("x", {}), fetch=fetch), root, checksums)
    assert (root / "file").read_bytes() == b"right"


def test_a_disk_that_is_too_small_is_told_first(root: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"x needs about 2,000,000,000,000 MB while it is unpacked; .* MB free"):
        download(replace(tiny("x", {}), size=10**18, fetch=lambda _: pytest.fail("fetched")), root, checksums)


def test_every_downloadable_set_is_known_with_its_size_and_page() -> None:
    from bench.data.catalogue import DATASETS

    by_name = {spec.name: spec for spec in DATASETS}
    assert set(DOWNLOADS) < set(by_name)
    without = {spec.name for spec in DATASETS} - set(DOWNLOADS)
    assert without == {"digits", "patches", "interpolations", "uniform", "constant"}
    for one in DOWNLOADS.values():
        assert one.size > 10**7
        assert one.page.startswith("http")
