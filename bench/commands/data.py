"""The published files on this machine, data sets and Inception's weights: what is there, verified and downloaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.downloads import DOWNLOADS, Download, download, fetch_file
from bench.data.registry import DATASETS, absence
from bench.data.spec import DatasetSpec
from bench.errors import RequestError, did_you_mean
from bench.evaluate.inception import FID, FILE, SHA256_PREFIX, weights_path
from bench.execute.prerequisites import Needed, Progress, Verified, of_dataset
from bench.files.checksums import Checksum

if TYPE_CHECKING:
    from bench.api import Bench

__all__ = ["INCEPTION", "Offer", "State", "damaged", "get", "offers", "published_states"]

INCEPTION = "inception"
"""Name of the weights of Inception among the data sets."""
DAMAGED = ", but damaged: "
"""Text by which a state says that a file is present but damaged."""


@dataclass(frozen=True)
class State:
    """A data set, or Inception's weights, on this machine.

    Attributes:
        name: Registered name, or `INCEPTION`.
        found: Whether all files are there.
        text: Whether it is found, verified, damaged or missing, and where to put missing files.
        files: Paths of the files with published checksums.
        download: Bytes that `get` downloads; None if it cannot.
        license: Licence, or the authors' statement about use.
        source: Paper or site that defines it.
        sizes: Items by part.
    """

    name: str
    found: bool
    text: str
    files: tuple[str, ...]
    download: int | None
    license: str
    source: str
    sizes: Mapping[str, int]

    @property
    def damaged(self) -> bool:
        """Whether a file is present but damaged."""
        return DAMAGED in self.text

    def as_json(self) -> dict[str, Any]:
        """All fields for JSON."""
        return {**asdict(self), "files": list(self.files), "sizes": dict(self.sizes)}


@dataclass(frozen=True)
class Offer:
    """A download to which a person agrees before it begins.

    Attributes:
        what: The download.
        root: Where its files go.
        license: Licence, or the authors' statement about use.
        source: Paper or site that defines it.
        checksums: Function from a root to the files with published checksums.
        layout: What to put where by hand; None if everything is there.
        problem: Why a download is needed: files are missing or damaged. None if all are there and verified.
    """

    what: Download
    root: Path
    license: str
    source: str
    checksums: Callable[[Path], tuple[Checksum, ...]]
    layout: str | None
    problem: str | None


def published_states(
    bench: Bench, names: Sequence[str] = (), *, verify: bool = False, progress: Progress | None = None
) -> list[State]:
    """The state of every data set and of Inception's weights, or of those with these names.

    Args:
        bench: Settings and store.
        names: Names of data sets, or `INCEPTION`; empty for all.
        verify: Read every file with a published checksum, also files that were verified before.
        progress: Called before each such file is read.

    Raises:
        RequestError: There is no data set of a name.
    """
    settings = bench.settings
    specs = [_dataset(name) for name in names if name != INCEPTION] if names else list(DATASETS.values())
    missing = {spec.name: _missing(spec, settings.data) for spec in specs}
    files = {spec.name: [] if missing[spec.name] else of_dataset(spec, settings.data) for spec in specs}
    weights = [Needed(file, "FID") for file in FID().checksums(settings.weights)]
    shown = weights if not names or INCEPTION in names else []
    verdicts = _verdicts([*(one for own in files.values() for one in own), *shown], bench.verified, verify, progress)
    found = []
    for spec in specs:
        offered = DOWNLOADS.get(spec.name)
        found.append(
            _state(
                *(spec.name, missing[spec.name], files[spec.name], verdicts),
                *(offered, spec.license, spec.source, spec.sizes),
            )
        )
    if not names or INCEPTION in names:
        path = weights_path(settings.weights)
        put = None if path else f"put {FILE} into {settings.weights}; or: bench data get {INCEPTION}"
        state = _state(INCEPTION, put, weights, verdicts, _INCEPTION, _LICENSE, _SOURCE, {})
        found.append(replace(state, text=state.text.replace("found", f"found: {path}", 1)) if path else state)
    return found


def damaged(states: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a text in the sections that ``bench doctor`` shows tells of a damaged file."""
    return any(DAMAGED in text for section in states.values() for text in section.values())


def offers(bench: Bench, names: Sequence[str]) -> list[Offer]:
    """What `get` would download for these names.

    Raises:
        RequestError: A name is unknown, or its files cannot be downloaded; the message says where they come from.
    """
    found = []
    for name in names:
        if name == INCEPTION:
            root = bench.settings.weights
            layout = None if weights_path(root) is not None else f"put {FILE} into {root}"
            checksums: Callable[[Path], tuple[Checksum, ...]] = _inception_checksums
            found.append(_offer(bench, _INCEPTION, root, _LICENSE, _SOURCE, checksums, layout))
            continue
        spec, root = _dataset(name), bench.settings.data
        what, layout = DOWNLOADS.get(name), spec.find(root)
        if what is None:
            here = "needs no download" if layout is None else f"cannot be downloaded by bench: {layout}"
            raise RequestError(f"data set {name!r} {here}; bench downloads {', '.join([*DOWNLOADS, INCEPTION])}")
        found.append(_offer(bench, what, root, spec.license, spec.source, spec.checksums, layout))
    return found


def get(offer: Offer) -> None:
    """Download what an offer names.

    Raises:
        PrerequisiteError: It could not be downloaded; see `bench.data.downloads.download`.
        RequestError: Another process downloads the same.
    """
    download(offer.what, offer.root, offer.checksums, offer.layout)


def _offer(
    bench: Bench,
    what: Download,
    root: Path,
    license_: str,
    source: str,
    checksums: Callable[[Path], tuple[Checksum, ...]],
    layout: str | None,
) -> Offer:
    (state,) = published_states(bench, [what.name], verify=True)
    missing = None if layout is None else f"missing: {layout}"
    problem = missing or (state.text if state.damaged or not state.files else None)
    return Offer(what, root, license_, source, checksums, layout, problem)


def _dataset(name: str) -> DatasetSpec:
    names = [*DATASETS.names(), INCEPTION]
    if name not in names:
        raise RequestError(f"unknown data set {name!r}; {did_you_mean(name, names)}")
    return DATASETS.get(name)


def _missing(spec: DatasetSpec, root: Path) -> str | None:
    """What is missing, or what is wrong with a plug-in that cannot say it: one broken set costs no list."""
    try:
        return absence(spec, root)
    except RequestError as error:
        return str(error)


def _state(
    name: str,
    missing: str | None,
    files: Sequence[Needed],
    verdicts: Mapping[Checksum, str | None],
    offered: Download | None,
    license_: str,
    source: str,
    sizes: Mapping[str, int],
) -> State:
    if missing is None:
        text = f"found{_verdict(files, verdicts, offered)}"
    else:
        text = f"missing: {missing}"
    paths = tuple(str(one.file.path) for one in files)
    size = offered.size if offered is not None else None
    return State(name, missing is None, text, paths, size, license_, source, sizes)


def _verdicts(
    files: Sequence[Needed], verified: Verified, verify: bool, progress: Progress | None
) -> dict[Checksum, str | None]:
    """The verdict on each file: None if it is intact, an empty text if it was not read, else the problem."""
    found: dict[Checksum, str | None] = {}
    for place, one in enumerate(files):
        if verify:
            if progress is not None:
                progress(one.file, place, len(files))
            problem = verified.verify(one.file)
            found[one.file] = None if problem is None else f"{one.file.path} {problem}"
        else:
            found[one.file] = None if verified.holds(one.file) else ""
    if verify and files:
        verified.keep()
    return found


def _verdict(files: Sequence[Needed], verdicts: Mapping[Checksum, str | None], offered: Download | None) -> str:
    """The text after "found"; empty for data that are not published files."""
    if not files:
        return "" if offered is None else ", but cannot be verified: only what is unpacked is there"
    problems = [problem for one in files if (problem := verdicts[one.file])]
    if problems:
        return f"{DAMAGED}{'; '.join(problems)}"
    if all(verdicts[one.file] is None for one in files):
        remark = "" if offered is None or not offered.unverified else f" ({offered.unverified})"
        return f", verified{remark}"
    return ", not verified: bench data verify reads it"


_SOURCE = "TensorFlow's Inception of 2015-12-05 as PyTorch weights: M. Seitzer, pytorch-fid, 2020"
_LICENSE = "Apache-2.0"


def _inception_checksums(root: Path) -> tuple[Checksum, ...]:
    return (Checksum(root / FILE, SHA256_PREFIX),)


def _inception(stage: Path) -> None:
    from pytorch_fid.inception import FID_WEIGHTS_URL

    fetch_file(FID_WEIGHTS_URL, stage, FILE)


_INCEPTION = Download(
    INCEPTION, 95_628_359, "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights", _inception, (FILE,)
)
