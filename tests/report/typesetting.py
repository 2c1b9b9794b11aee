"""What pdflatex makes of a document."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["typeset"]


def typeset(document: str, folder: Path) -> str:
    """Typeset a document as ``t.pdf`` in a folder and return the log; it is an error if TeX stops."""
    (folder / "t.tex").write_text(document, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-2000:]
    return log
