"""The whole report as one HTML file: tables, pictures, what differs from the paper, provenance.

It loads nothing from anywhere (its content security policy forbids it), runs no script, follows the reader's light
or dark scheme, and can be read on a phone and in print.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.report.draw import draw_all
from bench.report.html import anchor, render_table
from bench.report.html_text import escaped
from bench.report.model import Report
from bench.report.page_style import STYLE
from bench.report.text import preamble

__all__ = ["ENDING", "Picture", "render"]

ENDING = "html"

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Picture:
    """A picture of the report, such as a grid of generated images.

    Attributes:
        label: What it belongs to: model and seed.
        caption: What it shows.
        png: The file's content.

    Raises:
        ValueError: If ``png`` is not a PNG file.
    """

    label: str
    caption: str
    png: bytes

    def __post_init__(self) -> None:
        if not self.png.startswith(_PNG_SIGNATURE):
            raise ValueError(
                f"picture {self.label!r} must be the bytes of a PNG file, got {bytes(self.png[:8])!r} at its start"
            )


def render(
    report: Report,
    pictures: Sequence[Picture] = (),
    meta: Mapping[str, str] | None = None,
    charts: Mapping[str, bytes] | None = None,
) -> str:
    """The report as the text of one self-contained HTML file, to be encoded as UTF-8.

    Args:
        report: Tables and what has to be said about the run.
        pictures: Shown below the tables, in this order.
        meta: Provenance, as name → text (versions, devices, command).
        charts: PNG files of the charts by id of their table; None: they are drawn here.
    """
    meta = {**({"cost": report.budget} if report.budget else {}), **(meta or {})}
    charts = draw_all(report) if charts is None else charts
    title = escaped(report.title)
    body = [
        "<header>",
        f'<p class="suite">Suite {escaped(report.suite)}</p>',
        f"<h1>{title}</h1>",
        *_banner(report),
        "</header>",
        *_contents(report, pictures, meta),
        _LEGEND,
        *(render_table(table, charts.get(table.id)) for table in report.tables),
        *_pictures(pictures),
        *_deviations(report),
        *_provenance(meta),
    ]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}{f' (PROFILE {escaped(report.profile)})' if report.profile else ''}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


_LEGEND = """<aside class="legend">
<p><b>Reading the tables.</b> ↑ higher is better, ↓ lower is better; % marks percent.
<strong>Bold</strong>: the best measured value and those not told from it, where a test was made.
<small class="interval">[low, high]</small>: confidence interval.
<sup>†</sup> masked and <sup>‡</sup> inconclusive: verdicts on an attack; the true robustness may be lower.
<span class="absent">n/a</span>, failed, diverged, … (pending): no number, the reason is in the notes.
<i class="quoted">Italic and tinted</i>: quoted from a paper, not measured here.</p>
</aside>"""


def _banner(report: Report) -> list[str]:
    lines = preamble(replace(report, deviations=(), budget=""))
    return [f'<p class="banner" role="note">{escaped(line)}</p>' for line in lines]


def _contents(report: Report, pictures: Sequence[Picture], meta: Mapping[str, str]) -> list[str]:
    links = [(anchor(table), table.title) for table in report.tables]
    links += [("pictures", "Pictures")] if pictures else []
    links += [("deviations", "Differs from the paper")] if report.deviations else []
    links += [("provenance", "Provenance")] if meta else []
    items = [f'<li><a href="#{escaped(target)}">{escaped(text)}</a></li>' for target, text in links]
    return ["<nav><ol>", *items, "</ol></nav>"] if items else []


def _pictures(pictures: Sequence[Picture]) -> list[str]:
    if not pictures:
        return []
    figures = []
    for picture in pictures:
        data = base64.b64encode(picture.png).decode("ascii")
        alt = escaped(f"{picture.label}: {picture.caption}")
        figures.append(
            f'<figure><img src="data:image/png;base64,{data}" alt="{alt}">'
            f"<figcaption><b>{escaped(picture.label)}</b> {escaped(picture.caption)}</figcaption></figure>"
        )
    return ['<section id="pictures">', "<h2>Pictures</h2>", '<div class="pictures">', *figures, "</div>", "</section>"]


def _deviations(report: Report) -> list[str]:
    if not report.deviations:
        return []
    items = [f"<li>{escaped(line)}</li>" for line in report.deviations]
    return ['<section id="deviations">', "<h2>Differs from the paper</h2>", "<ul>", *items, "</ul>", "</section>"]


def _provenance(meta: Mapping[str, str]) -> list[str]:
    if not meta:
        return []
    items = [f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in meta.items()]
    return ['<section id="provenance">', "<h2>Provenance</h2>", "<dl>", *items, "</dl>", "</section>"]
