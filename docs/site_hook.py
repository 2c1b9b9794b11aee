"""Brings files outside of docs/ that its pages link to into the site, so that relative links work there as well as in a
repository viewer: Markdown as pages, other text as pages with a block of code. mkdocs runs the hook.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")
_LANGUAGES = {".py": "python", ".toml": "toml", ".cff": "yaml", ".yml": "yaml"}
_INSTEAD = {"README.md": "index.md"}
"""Pages that the site has another one for."""


def on_files(files: Any, config: Any) -> Any:
    """Add every file that a page links to, and those that these link to."""
    todo = [DOCS / file.src_uri for file in files.documentation_pages()]
    seen: set[str] = set()
    while todo:
        page = todo.pop()
        for target, _ in _LINK.findall(page.read_text(encoding="utf-8")):
            found = (page.parent / target).resolve()
            uri = _uri(found)
            if uri is None or uri in seen or found.is_relative_to(DOCS):
                continue
            seen.add(uri)
            if found.suffix == ".md":
                todo.append(found)
                files.append(File.generated(config, uri, content=found.read_text(encoding="utf-8")))
            else:
                files.append(File.generated(config, uri, content=_listing(found)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at the pages of the site."""
    uri = page.file.src_uri
    source = DOCS / uri if (DOCS / uri).is_file() else ROOT / uri
    if not source.is_file():  # a listing
        return markdown

    def moved(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        there = _uri(target)
        if there is None:
            return match[0]
        return f"]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{match[2] or ''})"

    return _LINK.sub(moved, markdown)


def _uri(path: Path) -> str | None:
    """The name in the site of a file of the repository; None if it has none."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    if not path.is_file() or not path.is_relative_to(ROOT):
        return None
    name = path.relative_to(ROOT).as_posix()
    return _INSTEAD.get(name, name if path.suffix == ".md" else f"{name}.md")


def _listing(path: Path) -> str:
    language = _LANGUAGES.get(path.suffix, "text")
    fence = "`" * 6
    return f"# {path.relative_to(ROOT).as_posix()}\n\n{fence}{language}\n{path.read_text(encoding='utf-8')}\n{fence}\n"
