from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., None]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes modules into a folder on the path that holds no installed packages, as a person's own folder."""
    root = tmp_path / "mine"
    root.mkdir()
    monkeypatch.syspath_prepend(str(root))

    def write(**files: str) -> None:
        for name, text in files.items():
            path = root.joinpath(*name.split("__in__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    return write
