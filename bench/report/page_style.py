"""The style sheet of the report page."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b1b1b; --soft: #666; --line: #c9c9c9; --rule: #1b1b1b;
  --tint: #f4f1ea; --banner: #fff3cd; --banner-ink: #5c4400; --link: #1a4f8b; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181b; --ink: #e4e4e2; --soft: #a0a0a0; --line: #3c4046; --rule: #b5b5b5;
    --tint: #22252b; --banner: #43370f; --banner-ink: #ffe9a8; --link: #8ab8f0; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 "Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, serif;
  -webkit-text-size-adjust: 100%; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .8rem; font-weight: 600; text-wrap: balance; }
h2 { font-size: 1.15rem; line-height: 1.3; margin: 0 0 .6rem; font-weight: 600; }
a { color: var(--link); }
.suite { margin: 0; color: var(--soft); font-variant: small-caps; letter-spacing: .03em; }
.banner { background: var(--banner); color: var(--banner-ink); padding: .5rem .8rem; border-radius: 3px;
  font-weight: 600; margin: 0 0 1rem; }
nav ol { columns: 2 18rem; column-gap: 2rem; margin: 0 0 1.2rem; padding-left: 1.3rem; font-size: .9rem; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.legend { border-left: 2px solid var(--line); padding: 0 0 0 .9rem; font-size: .85rem; color: var(--soft); }
.legend p { margin: 0; }
.legend .interval { color: var(--soft); font-size: .9em; }
.legend .quoted { background: var(--tint); padding: 0 .3em; }
section { margin-top: 2.6rem; }
section:target h2 { text-decoration: underline; text-decoration-color: var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-top: 1.5px solid var(--rule); border-bottom: 1.5px solid var(--rule);
  font-size: .92rem; font-variant-numeric: tabular-nums lining-nums; min-width: min(100%, 26rem); }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top; white-space: nowrap; }
thead th { vertical-align: bottom; font-weight: 500; }
thead .group { text-align: center; padding-left: .4rem; padding-right: .4rem; }
thead .group span { display: block; border-bottom: 1px solid var(--line); padding: 0 .35rem .2rem; }
thead tr:last-child th, thead th[rowspan] { padding-bottom: .4rem; }
tbody { border-top: 1px solid var(--rule); }
tbody th { font-weight: 400; }
.label { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 8rem; max-width: 18rem;
  position: sticky; left: 0; background: var(--paper); z-index: 1; }
td { position: relative; }
td strong { font-weight: 700; }
td small { display: block; color: var(--soft); font-size: .72em; line-height: 1.2; }
sup { font-size: .7em; line-height: 0; }
sup.mark { position: absolute; margin-top: .55em; margin-left: .1em; }
.absent { color: var(--soft); }
tbody.literature { font-style: italic; }
tbody.literature th, tbody.literature td { background: var(--tint); }
.notes { margin: .6rem 0 0; padding-left: 1.1rem; font-size: .84rem; line-height: 1.4; color: var(--soft);
  max-width: 52rem; }
.notes li { overflow-wrap: anywhere; }
details { margin-top: .5rem; font-size: .84rem; line-height: 1.4; max-width: 52rem; }
summary { cursor: pointer; color: var(--link); }
dl { margin: .5rem 0 0; }
dt { margin-top: .6rem; font-weight: 600; }
dd { margin: 0 0 0 1.1rem; overflow-wrap: anywhere; }
dd.fact { color: var(--soft); }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-weight: 400; color: var(--soft);
  overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); gap: 1.4rem; }
figure { margin: 0; break-inside: avoid; }
figure img { max-width: 100%; height: auto; display: block; }
.pictures img { width: 100%; image-rendering: pixelated; }
.chart { margin-top: 1rem; max-width: 52rem; }
figcaption { font-size: .84rem; line-height: 1.4; margin-top: .35rem; color: var(--soft); }
figcaption b { color: var(--ink); font-weight: 600; }
#deviations ul { font-size: .9rem; padding-left: 1.1rem; margin: 0; overflow-wrap: anywhere; }
#provenance dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .88rem; }
#provenance dt { margin: 0; font-weight: 400; color: var(--soft); }
#provenance dd { margin: 0; }
@media (max-width: 40rem) {
  main { padding: 1.2rem .9rem 3rem; }
  h1 { font-size: 1.45rem; }
  th, td { padding: .3rem .5rem; }
  table { font-size: .86rem; }
  .label { min-width: 6.5rem; max-width: 9rem; }
  .pictures { grid-template-columns: repeat(auto-fill, minmax(min(100%, 11rem), 1fr)); gap: .9rem; }
  #provenance dl { grid-template-columns: 1fr; }
  #provenance dd { margin-bottom: .4rem; }
}
@media print {
  @page { margin: 1.6cm; }
  :root { --paper: #fff; --ink: #000; --soft: #444; --line: #999; --rule: #000; --tint: #f4f1ea;
    --banner: #fff3cd; --banner-ink: #000; --link: #000; color-scheme: light; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; min-width: 0; }
  th, td { padding: .15rem .3rem; }
  .label { position: static; }
  section { break-inside: avoid-page; }
  details:not([open])::details-content { content-visibility: visible; block-size: auto; }
  .banner, tbody.literature th, tbody.literature td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
"""Colours as variables for light, dark and print; no web fonts, so that the file stands alone."""
