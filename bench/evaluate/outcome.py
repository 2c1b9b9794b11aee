"""Checks of an evaluation's outcome against its declarations, before it is stored.

Evaluations may come from other packages. An outcome that breaks the contract fails in its job, with the name of the
evaluation. Otherwise a number without a declared column would be lost silently, a value of 37 would be printed as
3700 %, and a file called ``../x`` would be written outside of the folder.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bench.attacks.verdict import WORDS
from bench.evaluate.base import Column, Evaluation, Number, Outcome
from bench.metrics.intervals import IfCalibrated, Interval
from bench.plugins.declared import shown
from bench.store import OWN_FILES

__all__ = ["BrokenContractError", "check_outcome", "is_plain_name"]

_SLACK = 1e-9
"""Tolerance for rounding at the ends of a range."""
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ARRAY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/+-]{0,99}")
"""Pattern of array names. They may be column names such as ``robust@0.5``, because they never become file names."""
_LONGEST = 1000
"""Largest number of characters in the name of a data set."""
_PNG = b"\x89PNG\r\n\x1a\n"


class BrokenContractError(Exception):
    """The outcome of an evaluation breaks its contract.

    Args:
        name: Name of the evaluation.
        problems: All violations.
    """

    def __init__(self, name: str, problems: Sequence[str]) -> None:
        super().__init__(f"evaluation {name!r} breaks its contract: " + "; ".join(problems))


def is_plain_name(name: object) -> bool:
    """Whether a name is a plain file name that the harness does not use itself in the folders of jobs."""
    if not isinstance(name, str) or not _PLAIN.fullmatch(name):
        return False
    return name not in OWN_FILES and not name.startswith("checkpoint")


def check_outcome(evaluation: Evaluation, config: Any, outcome: object, readouts: Sequence[str] = ()) -> Outcome:
    """The outcome, if it agrees with ``columns(config)``.

    Every declared column has exactly one number, except for columns that the report computes across rows and read-outs
    that the family lacks. A value is finite and in the range of its column, or None with a reason. Arrays over items
    hold no objects and are as long as ``ids``, those of another set as long as its own ``ids``. Files have plain
    names, and a file called ``.png`` is a valid PNG. Details can be written as JSON.

    Args:
        evaluation: The evaluation that was run.
        config: Its parameters.
        outcome: Its return value.
        readouts: Read-outs of the family.

    Raises:
        BrokenContractError: With all violations.
    """
    if not isinstance(outcome, Outcome):
        raise BrokenContractError(evaluation.name, [f"evaluate returned {type(outcome).__name__}, expected Outcome"])
    problems = [
        *_numbers(outcome.numbers, evaluation.columns(config), outcome.items, readouts),
        *_items(outcome.items),
        *_sets(outcome.sets, outcome.items),
        *_files(outcome.files),
        *_details(outcome.details),
    ]
    if problems:
        raise BrokenContractError(evaluation.name, problems)
    return outcome


def _numbers(numbers: object, columns: Sequence[Column], items: object, readouts: Sequence[str]) -> Iterator[str]:
    if not isinstance(numbers, list | tuple) or not all(isinstance(number, Number) for number in numbers):
        yield "numbers is not a list of Number"
        return
    declared = {(column.metric, column.argument): column for column in columns}
    seen = set()
    for number in numbers:
        which = (number.metric, number.argument)
        name = f"{number.metric}@{number.argument}" if number.argument else f"{number.metric}"
        column = declared.get(which) if all(isinstance(part, str) for part in which) else None
        if column is None:
            known = ", ".join(sorted({metric for metric, _ in declared}))
            yield f"the number {name!r} is not among its columns ({known})"
            continue
        if which in seen:
            yield f"the number {name!r} is there twice"
        seen.add(which)
        yield from (f"{name}: {problem}" for problem in _number(number, column, items))
    for which, column in declared.items():
        needed = column.across is None and (column.readout is None or column.readout in readouts)
        if needed and which not in seen:
            yield f"there is no number for its column {column.metric!r}" + (f" @{which[1]}" if which[1] else "")


def _number(number: Any, column: Column, items: object) -> Iterator[str]:
    value = number.value
    if value is None:
        if not isinstance(number.reason, str) or not number.reason.strip():
            yield "has neither a value nor a reason"
    elif isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        yield f"value is {shown(value)}, expected a number"
    elif not math.isfinite(value):
        yield f"value is {value}: a number that is not finite needs a reason in its place"
    else:
        low, high = column.bounds
        if not low - _SLACK <= value <= high + _SLACK:
            yield f"value is {value:g}, outside of [{low:g}, {high:g}], the range of its column"
    if isinstance(number.n, bool) or not isinstance(number.n, int | np.integer) or number.n < 0:
        yield f"n is {shown(number.n)}, expected a count of items"
    if number.note is not None and not isinstance(number.note, str):
        yield f"note is {shown(number.note)}, expected a text"
    if not isinstance(number.not_finite, int | np.integer) or number.not_finite < 0:
        yield f"not_finite is {shown(number.not_finite)}, expected a count of items"
    if number.definition != column.definition:
        yield f"definition {shown(number.definition)} is not that of its column, {shown(column.definition)}"
    if number.interval is not None:
        yield from _interval(number.interval)
    if number.if_calibrated is not None and not isinstance(number.if_calibrated, IfCalibrated):
        yield f"if_calibrated is {shown(number.if_calibrated)}, expected an IfCalibrated"
    if number.verdict is not None and number.verdict not in WORDS:
        yield f"verdict is {shown(number.verdict)}, expected one of {', '.join(WORDS)}"
    if not isinstance(number.flags, Mapping) or not all(
        isinstance(name, str) and isinstance(flag, str | int | float) and (isinstance(flag, str) or math.isfinite(flag))
        for name, flag in number.flags.items()
    ):
        yield "flags are not texts or finite numbers by name"
    if number.items is not None and (not isinstance(items, Mapping) or number.items not in items):
        yield f"items names the array {shown(number.items)}, which the outcome does not have"


def _interval(interval: Any) -> Iterator[str]:
    if not isinstance(interval, Interval):
        yield f"interval is {shown(interval)}, expected an Interval"
        return
    ends: tuple[Any, Any] = (interval.low, interval.high)
    if not all(isinstance(end, int | float | np.floating) and math.isfinite(end) for end in ends):
        yield f"interval [{interval.low}, {interval.high}] is not finite"
    elif interval.low > interval.high:
        yield f"interval [{interval.low:g}, {interval.high:g}] ends before it begins"


def _items(items: Any, what: str = "items") -> Iterator[str]:
    if not isinstance(items, Mapping):
        yield f"{what} is not a mapping from names to arrays"
        return
    if items and "ids" not in items:
        yield f"{what} has no array 'ids', which says what the items are"
    ids = items.get("ids")
    for name, array in items.items():
        if not _ARRAY.fullmatch(str(name)) or ".." in str(name):
            yield f"{what}: {shown(name)} is no plain name"
        elif not isinstance(array, np.ndarray) or array.dtype.hasobject:
            yield f"{what}: {name} is not an array of plain values"
        elif array.ndim == 0 or not isinstance(ids, np.ndarray) or ids.ndim == 0 or len(array) != len(ids):
            yield f"{what}: {name} is not as long as 'ids'"


def _sets(sets: Any, items: Any) -> Iterator[str]:
    """Problems of the arrays over items of other sets, alone and beside those of ``items`` in one file."""
    if not isinstance(sets, Mapping):
        yield "sets is not a mapping from names to arrays by name"
        return
    taken = {str(name) for name in items} if isinstance(items, Mapping) else set()
    for which, arrays in sets.items():
        # A set may be a path; its name becomes that of a member of an archive, never that of a file.
        if not isinstance(which, str) or not which.isprintable() or not 0 < len(which) <= _LONGEST:
            yield f"sets: {shown(which)} is no name of a data set"
            continue
        yield from _items(arrays, f"sets[{shown(which)}]")
        for name in arrays if isinstance(arrays, Mapping) else ():
            stored = f"{name}@{which}"
            if stored in taken:
                yield f"sets: two arrays would be stored as {shown(stored)}"
            taken.add(stored)


def _files(files: Any) -> Iterator[str]:
    if not isinstance(files, Mapping):
        yield "files is not a mapping from names to bytes"
        return
    for name, content in files.items():
        if not is_plain_name(name):
            yield f"files: {shown(name)} is not the plain name of a file of its own"
        elif not isinstance(content, bytes):
            yield f"files: {name} is {type(content).__name__}, expected bytes"
        elif name.lower().endswith(".png") and not _is_png(content):
            yield f"files: {name} is no PNG"


def _is_png(content: bytes) -> bool:
    if not content.startswith(_PNG):
        return False
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.verify()
    except Exception:  # a damaged picture can make the library raise any error
        return False
    return True


def _details(details: object) -> Iterator[str]:
    if not isinstance(details, Mapping):
        yield "details is not a mapping"
        return
    try:
        json.dumps(dict(details), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        yield f"details cannot be written as JSON: {error}"
