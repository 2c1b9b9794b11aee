"""Numbers quoted from papers, read from TOML files; each file names its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from bench.errors import SuiteError
from bench.spec import Config
from bench.suite.document import read, validate

__all__ = ["Literature", "LiteratureRow", "literature_names", "load_literature"]


class Source(Config):
    """The paper that the numbers are quoted from."""

    name: str
    title: str
    url: str
    note: str = ""


class LiteratureRow(Config):
    """One model's numbers in a source."""

    label: str = Field(description="As the source calls the model")
    family: str = Field("", description="The registered family that it corresponds to, if any")
    dataset: str = Field(description="Data set that the numbers are for")
    table: str = Field(description="Where in the source")
    group: str = Field("", description="Heading of the rows that it stands with in the source, if it has groups")
    page: int | None = Field(None, ge=1, description="Page of the source")
    n: int | None = Field(None, ge=1, description="Number of test items behind its shares, where it is known")
    threat: str = Field("", description="Norm and budget of the attack behind its numbers, if they are under attack")
    secondary: str = Field("", description="Where the numbers were read, if not in their own source")
    caveat: str = Field("", description="What to know about the numbers; printed below the table")
    values: Mapping[str, float] = Field(description="By column id of the shipped suites; fractions in [0, 1]")


class Literature(Config):
    """A file of quoted numbers."""

    source: Source
    rows: tuple[LiteratureRow, ...] = Field(alias="row")


def literature_names(folders: Sequence[Path]) -> frozenset[str]:
    """Names of the files in the literature folders."""
    return frozenset(path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml"))


def load_literature(name: str, folders: Sequence[Path]) -> Literature:
    """Read the file of a source from the first folder that has one.

    Args:
        name: Name of the file, without ``.toml``.
        folders: The literature folders.

    Raises:
        SuiteError: If the file has mistakes.
        FileNotFoundError: If no folder has a file of that name.
    """
    for folder in folders:
        path = folder / f"{name}.toml"
        if not path.is_file():
            continue
        document = read(path)
        found, problems = validate(Literature, document.data, document, ())
        if found is None:
            raise SuiteError(problems)
        return found
    raise FileNotFoundError(name)
