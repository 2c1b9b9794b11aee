"""The data and attacks with which the papers trained and tested, where they or their code state them.

Sources: GMMC paper, Sections 4.1 to 4.4 and Appendix A; the released code of JEM and GMMC (docs/protocol.md). The paper
states neither the number of validation items nor that of attacked items: the first is 5,000 in both codes; the decimals
of its Table 5 show that all 10,000 test items were attacked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.suite.schema import Suite

__all__ = ["attack_lines", "augmentation", "data_line", "data_of_the_paper", "shown"]


@dataclass(frozen=True)
class PaperData:
    """A data set of the paper: its name there, numbers of items for training, validation and test, and augmentation."""

    label: str
    items: tuple[int, int, int]
    augmentation: str


_DATA = {
    "cifar10": PaperData("CIFAR10", (45_000, 5_000, 10_000), "crop-flip"),
    "cifar100": PaperData("CIFAR100", (45_000, 5_000, 10_000), "crop-flip"),
    "svhn": PaperData("SVHN", (68_257, 5_000, 26_032), "crop"),
}
_REFERENCE = "cifar10"
"""The data set whose settings are quoted for data sets that the paper does not use."""

_NOT_STATED = "not stated"


@dataclass(frozen=True)
class Stated:
    """A parameter of the paper's attack.

    Attributes:
        value: The value that the paper states or its tables show, else that of JEM's code or the usual one here.
        text: The printed text.
    """

    value: Any
    text: str


_PGD = {
    "norm": Stated("linf", "L_inf"),
    "steps": Stated(40, "40"),
    "step": Stated("eps/30", f"{_NOT_STATED}; JEM's code: eps/30"),
    "restarts": Stated(1, f"{_NOT_STATED}; JEM's code: 20"),
    "iterate": Stated("final", f"{_NOT_STATED}; JEM's code: final"),
    "items": Stated(10_000, "10,000"),
}
_CW_ITEMS = Stated(1_000, f"{_NOT_STATED}; at full size here: 1,000")
_ATTACKS: Mapping[str, Mapping[str, Stated]] = {
    "pgd": _PGD,
    "cw": {"steps": Stated(100, "100 untargeted"), "items": _CW_ITEMS},
    "cw-l2": {"steps": Stated(100, "100 untargeted, 1,000 targeted"), "items": _CW_ITEMS},
    "calibration": {"bins": Stated(20, "20")},
    "ood": {
        "sets": Stated(
            ("svhn", "interpolations", "cifar100", "celeba"), "svhn, interpolations of CIFAR10, cifar100, celeba"
        )
    },
}
_NAMES = {"step": "step size", "items": "attacked items", "sets": "data sets"}


def data_of_the_paper(suite: Suite) -> str:
    """The name of the suite's data set if the paper uses it in this shape, else ""; a user's own data may have the same
    name.
    """
    name = suite.dataset.name
    own = suite.dataset.location is not None or suite.dataset.loaded_shape is not None
    return name if name in _DATA and not own else ""


def data_line(suite: Suite) -> Iterator[str]:
    """A line on data set and numbers of items, if they are not the paper's."""
    name, items = suite.dataset.name, _items(suite)
    paper = _DATA.get(data_of_the_paper(suite))
    ours = f"{name}, {_counts(items)} items"
    if paper is None:
        shape = "x".join(str(size) for size in suite.image_shape)
        labels = ", ".join(known.label for known in _DATA.values())
        reference = _DATA[_REFERENCE]
        yield (
            f"data: {ours} of {shape} [paper: {labels}; what it says of {reference.label} ({_counts(reference.items)} "
            "items of 3x32x32) is quoted here]"
        )
    elif items != paper.items:
        yield f"data: {ours} [paper: {_counts(paper.items)}, validation items as in its code]"


def augmentation(suite: Suite) -> str:
    """The augmentation of the paper's code for the suite's data set, or for CIFAR10 if the paper does not use it."""
    return _DATA.get(data_of_the_paper(suite), _DATA[_REFERENCE]).augmentation


def attack_lines(suite: Suite) -> Iterator[str]:
    """One line for each evaluation of the paper that the suite runs with other parameters or on other items."""
    tested = _items(suite)[2]
    for resolved in suite.evaluations:
        differing = []
        for key, stated in _ATTACKS.get(resolved.evaluation.name, {}).items():
            value, expected = getattr(resolved.config, key, None), stated.value
            if key == "steps" and getattr(resolved.config, "targets", "none") != "none":
                expected = 1000
            if key == "items" and isinstance(value, int):
                value = min(value, tested) if tested else value
            if isinstance(value, tuple):
                value, expected = tuple(sorted(value)), tuple(sorted(expected))
            if value is not None and value != expected:
                differing.append(f"{_NAMES.get(key, key)} {shown(value)} [paper: {stated.text}]")
        if differing:
            yield f"{resolved.id}: {', '.join(differing)}"


def shown(value: Any) -> str:
    """A value as text for a reader: ``yes`` for True, ``10,000`` for 10000, names separated by commas."""
    if isinstance(value, tuple):
        return ", ".join(shown(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _items(suite: Suite) -> tuple[int, int, int]:
    """Numbers of items for training, validation and test, within the limits of a profile; 0 if not known."""
    validation = suite.data.validation or suite.dataset.validation
    known = suite.dataset.sizes
    sizes = (max(known.get("train", 0) - validation, 0), validation, known.get("test", 0))
    caps = (suite.caps.train, suite.caps.validation, suite.caps.items)
    train, held, test = (min(size, cap) if cap is not None else size for size, cap in zip(sizes, caps, strict=True))
    return train, held, test


def _counts(items: tuple[int, int, int]) -> str:
    return " / ".join(f"{count:,}" if count else "?" for count in items) + " training / validation / test"
