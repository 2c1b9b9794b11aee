"""Parameters that a command gets as text: ``--set KEY=VALUE``."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from typing import Any

from bench.errors import RequestError
from bench.suite.document import set_at

__all__ = ["parse_parameters"]


def parse_parameters(texts: Iterable[str]) -> dict[str, Any]:
    """Values by key, as a suite would have them.

    Args:
        texts: ``KEY=VALUE``; a dotted key is one of a table, the value is TOML, and what is no TOML is a text.

    Raises:
        RequestError: A text has no key or no "=".

    >>> parse_parameters(["sampler.steps=5", "norm=l2"])
    {'sampler': {'steps': 5}, 'norm': 'l2'}
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        path = tuple(part.strip() for part in key.split("."))
        if not separator or not all(path):
            raise RequestError(f"--set {text[:100]}: expected KEY=VALUE, such as sampler.steps=5")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value
        set_at(found, path, parsed)
    return found
