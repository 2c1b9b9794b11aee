"""``bench.toml``: the folders of data, results and weights, the default suite, and what jobs ask of a cluster.

The file is searched from the working folder upwards. ``bench.local.toml`` beside it (git-ignored) and the
variables ``BENCH_DATA``, ``BENCH_RESULTS``, ``BENCH_WEIGHTS`` override it. Without any of them, results go to
``./results`` and data are read from the user's cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from bench.data.decoded import user_cache
from bench.errors import Problem, RequestError, SuiteError, did_you_mean, nearest, shortened
from bench.spec import Config
from bench.suite.cluster import Cluster
from bench.suite.document import read, validate
from bench.suite.schema import FileName

__all__ = [
    "Settings",
    "SettingsFile",
    "find_profile",
    "find_suite",
    "is_path",
    "load_settings",
    "packaged",
    "suite_folders",
]

FILE, LOCAL = "bench.toml", "bench.local.toml"


class _Paths(Config):
    data: FileName | None = Field(None, description="Data root: one folder per data set")
    results: FileName | None = Field(None, description="Everything measured is written below it")
    weights: FileName | None = Field(None, description="Foreign weights, such as Inception's")


class _Run(Config):
    default_suite: FileName | None = Field(None, description="What `bench run` without a suite runs")


class SettingsFile(Config):
    """``bench.toml``, as it is written."""

    paths: _Paths = Field(default_factory=_Paths)
    run: _Run = Field(default_factory=_Run)
    cluster: Cluster = Field(default_factory=Cluster, description="What jobs of `bench run --on slurm` ask for")


@dataclass(frozen=True)
class Settings:
    """Resolved settings; all paths are absolute.

    Attributes:
        home: Folder of ``bench.toml``, or the working folder.
        data, results, weights: Root folders.
        default_suite: Bare name or path of the default suite.
        sources: Origin of each value, by name, for ``bench doctor``.
        cluster: What jobs ask of a cluster.
    """

    home: Path
    data: Path
    results: Path
    weights: Path
    default_suite: str
    sources: Mapping[str, str]
    cluster: Cluster = field(default_factory=Cluster)

    @property
    def names_suite(self) -> bool:
        """Whether a default suite was set explicitly."""
        return self.sources["default_suite"] != "default"

    @property
    def literature(self) -> tuple[Path, ...]:
        """Folders of literature rows: the project's own first, then the package's."""
        return (self.results / "literature", packaged("_literature", "results/literature"))


def load_settings(start: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings for the folder ``start`` (default: the working folder).

    Raises:
        SuiteError: A settings file has mistakes.
    """
    environ = os.environ if environ is None else environ
    start = (start or Path.cwd()).resolve()
    home = next((folder for folder in (start, *start.parents) if (folder / FILE).exists()), None)
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    cluster: dict[str, Any] = {}
    problems: list[Problem] = []
    for path in (home / FILE, home / LOCAL) if home else ():
        if not path.exists():
            continue
        document = read(path)
        parsed, found = validate(SettingsFile, document.data, document, ())
        problems += found
        if parsed is None:
            continue
        for section in (parsed.paths, parsed.run):
            for name, value in section.model_dump(exclude_none=True).items():
                values[name], sources[name] = value, path.name
        for name, value in parsed.cluster.model_dump(exclude_unset=True).items():
            cluster[name] = {**cluster.get(name, {}), **value} if isinstance(value, dict) else value
    if problems:
        raise SuiteError(problems)
    for name in ("data", "results", "weights"):
        variable = f"BENCH_{name.upper()}"
        if environ.get(variable):
            values[name], sources[name] = environ[variable], variable
    base = home or start
    cache = user_cache(environ)
    defaults = {"data": cache / "data", "results": base / "results", "weights": cache / "weights"}
    suite = values.get("default_suite", "digits")
    roots = {name: _absolute(values.get(name), base) or default for name, default in defaults.items()}
    return Settings(
        home=base,
        data=roots["data"],
        results=roots["results"],
        weights=roots["weights"],
        default_suite=str(base / suite) if is_path(suite) else suite,
        sources={name: sources.get(name, "default") for name in (*defaults, "default_suite")},
        cluster=Cluster.model_validate(cluster),
    )


def suite_folders(settings: Settings) -> tuple[Path, ...]:
    """The folders searched for bare suite names: the project's ``suites/``, then the package's."""
    folders = (settings.home / "suites", packaged("_suites", "suites"))
    return tuple(dict.fromkeys(folder for folder in folders if folder.is_dir()))


def find_suite(name: str, settings: Settings) -> Path:
    """The file of a suite given as a path or as a bare name.

    Raises:
        SuiteError: There is no such suite; the message suggests the nearest name.
    """
    return _find(name, list(suite_folders(settings)), "suite")


def find_profile(name: str, settings: Settings) -> Path:
    """The file of a profile given as a path or as a bare name, as for suites."""
    return _find(name, [folder / "profiles" for folder in suite_folders(settings)], "profile")


def _find(name: str, folders: list[Path], what: str) -> Path:
    path = Path(name)
    if is_path(name):
        if _is_there(path):
            return path
        stems = _stems(folders)
        near = did_you_mean(path.stem, stems) if nearest(path.stem, stems) else _beside(path)
        raise RequestError(f"{shortened(name)}: no such file" + (f"; {near}" if near else ""))
    for folder in folders:
        if _is_there(folder / f"{name}.toml"):
            return folder / f"{name}.toml"
    here = Path(f"{name}.toml")
    near = f"did you mean {str(here)!r}?" if _is_there(here) else _beside(path) or did_you_mean(name, _stems(folders))
    raise RequestError(f"unknown {what} {shortened(name)!r}; {near}")


def _beside(path: Path) -> str:
    """The nearest name of a TOML file in the folder of ``path``, as a hint; empty if there is none."""
    try:
        names = [file.name for file in path.parent.glob("*.toml")]
    except (OSError, ValueError):
        return ""
    close = nearest(path.name, names) if path.suffix else None
    return f"did you mean {str(path.with_name(close))!r}?" if close is not None else ""


def _is_there(path: Path) -> bool:
    """Whether something has this name. It need not be a regular file; its reader checks that.

    Raises:
        RequestError: The name is impossible, or its folder may not be read.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RequestError(f"{shortened(str(path))}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise RequestError(f"{shortened(str(path))!r}: no file can have this name") from None
    return True


def is_path(name: str) -> bool:
    """Whether the name of a suite or profile is the path of its file."""
    return "/" in name or name.endswith(".toml")


def _stems(folders: list[Path]) -> list[str]:
    return sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")})


def _absolute(value: str | None, base: Path) -> Path | None:
    if value is None:
        return None
    path = Path(value).expanduser()
    return path if path.is_absolute() else base / path


def packaged(installed: str, checkout: str) -> Path:
    """A data folder of the package: beside the code in a wheel, in the checkout otherwise."""
    package = Path(__file__).resolve().parent.parent
    inside = package / installed
    return inside if inside.is_dir() else package.parent / checkout
