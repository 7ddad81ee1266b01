"""What makes an HTML report one whole file: one style sheet and one script, both inline."""

from __future__ import annotations

import base64
import hashlib

from gossamer.report.markup import Markup, tag

STYLE = """
:root { color-scheme: light dark;
  --paper: #f7f7f4; --card: #ffffff; --ink: #1c2024; --soft: #5a636b; --line: #dfe1dc;
  --accent: #0b6b63; --good: #17703a; --good-back: #e3f3e8; --warn: #8a5200;
  --warn-back: #fdf0d5; --bad: #a8201a; --bad-back: #fbe6e4; --code: #f0f1ec;
  --s0: #0b6e99; --s1: #c2410c; --s2: #6d28d9; --s3: #3f6212; --s4: #b0185e; --s5: #57534e; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --card: #1c2125; --ink: #e7eaec; --soft: #a3adb5; --line: #343c43;
  --accent: #63d0c4; --good: #7fdb9e; --good-back: #173524; --warn: #f4c463;
  --warn-back: #3a2c10; --bad: #ff9c94; --bad-back: #421e1c; --code: #262c31;
  --s0: #5cc0ec; --s1: #fb923c; --s2: #b79cff; --s3: #a3d65c; --s4: #f783b4; --s5: #cbc5be; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: clamp(1.5rem, 1.1rem + 1.9vw, 2.3rem); line-height: 1.2; margin: 12px 0 8px;
  letter-spacing: -0.015em; text-wrap: balance; max-width: 26em; }
h2 { font-size: 1.15rem; margin: 0 0 12px; }
h3 { font-size: 1rem; margin: 20px 0 8px; }
p { margin: 8px 0; max-width: 80ch; }
a { color: var(--accent); }
.top { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; color: var(--soft);
  overflow-wrap: anywhere; }
.top strong { color: var(--ink); }
.lead { font-size: 1.1rem; max-width: 66em; }
.soft { color: var(--soft); }
.badge { display: inline-block; padding: 2px 10px; border-radius: 999px; font-size: .85rem;
  font-weight: 600; white-space: nowrap; background: var(--code); color: var(--soft); }
.badge.good { background: var(--good-back); color: var(--good); }
.badge.warn { background: var(--warn-back); color: var(--warn); }
.badge.bad { background: var(--bad-back); color: var(--bad); }
.notice { border-left: 4px solid var(--warn); background: var(--warn-back); color: var(--ink);
  padding: 10px 16px; border-radius: 6px; margin: 16px 0; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 20px 24px; margin: 20px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); gap: 12px;
  margin: 0 0 20px; }
.tile { border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 1.7rem; line-height: 1.25; font-weight: 650;
  font-variant-numeric: tabular-nums; letter-spacing: -0.01em; }
.tile span { color: var(--soft); font-size: .88rem; display: block; }
dl { display: grid; grid-template-columns: minmax(9em, max-content) 1fr; gap: 6px 20px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; margin: 0 -24px; padding: 0 24px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: 8px; }
th, td { padding: 7px 9px; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; color: var(--soft); white-space: nowrap; vertical-align: bottom; }
th[scope=row] { color: var(--ink); overflow-wrap: anywhere; min-width: 11em; white-space: normal;
  vertical-align: top; }
td { white-space: nowrap; }
td.why { min-width: 13em; max-width: 30em; overflow-wrap: anywhere; white-space: normal; }
td small, th small { display: block; color: var(--soft); font-size: .85em; font-weight: 400; }
.num { text-align: right; white-space: nowrap; }
tbody tr.winner { background: var(--good-back); }
tbody tr.winner th { font-weight: 700; }
tbody tr.off { color: var(--soft); }
th button { all: unset; cursor: pointer; white-space: nowrap; }
th button:hover { color: var(--ink); text-decoration: underline; }
th button:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.key { display: inline-block; width: 14px; height: 14px; vertical-align: -2px; margin-right: 6px;
  overflow: visible; }
.bars { display: grid; grid-template-columns: minmax(8em, max-content) 1fr max-content;
  gap: 8px 14px; align-items: center; margin: 0; padding: 0; list-style: none; }
.bars li { display: contents; }
.bars .track { height: 14px; border-radius: 4px; background: var(--code); }
.bars .bar { display: block; height: 100%; min-width: 3px; border-radius: 4px; }
.bars .name { overflow-wrap: anywhere; }
.bars .winner { font-weight: 700; }
.b0 { background: var(--s0); } .b1 { background: var(--s1); } .b2 { background: var(--s2); }
.b3 { background: var(--s3); } .b4 { background: var(--s4); } .b5 { background: var(--s5); }
.counts { display: flex; flex-wrap: wrap; gap: 8px; padding: 0; margin: 0 0 12px;
  list-style: none; }
.counts li { border: 1px solid var(--line); border-radius: 8px; padding: 6px 12px; }
.counts b { font-size: 1.1rem; }
details { margin: 12px 0 0; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
pre { background: var(--code); padding: 12px 16px; border-radius: 8px; overflow-x: auto;
  font: .88rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: .92em; overflow-wrap: anywhere; }
pre code { font-size: 1em; overflow-wrap: normal; }
.plot { display: block; width: 100%; height: auto; margin: 0 auto; }
.plot text { fill: var(--soft); font: 12px system-ui, -apple-system, "Segoe UI", Roboto,
  "Noto Sans", sans-serif; font-variant-numeric: tabular-nums; }
.plot .label { fill: var(--ink); paint-order: stroke; stroke: var(--card); stroke-width: 3px;
  stroke-linejoin: round; }
.plot .strong { font-weight: 700; }
.plot .end { text-anchor: end; } .plot .middle { text-anchor: middle; }
.plot .grid { stroke: var(--line); } .plot .frame { stroke: var(--soft); }
.plot .beyond { fill: var(--bad); opacity: .07; }
.plot .budget { stroke: var(--bad); stroke-dasharray: 6 4; stroke-width: 1.5; }
.plot .budget-text { fill: var(--bad); }
.plot .baseline { stroke: var(--soft); stroke-dasharray: 2 4; }
.plot .arrow { fill: none; stroke: var(--ink); stroke-width: 1.8; }
.plot .ring { fill: none; stroke: var(--good); stroke-width: 2.5; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); gap: 16px; }
.figures figure { margin: 0; min-width: 0; }
figcaption { font-size: .88rem; color: var(--soft); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); }
.plot .real { fill: var(--s0); opacity: .35; }
.plot .held { fill: none; stroke: var(--s1); stroke-width: 1.5; }
.plot .limit { stroke: var(--bad); stroke-dasharray: 5 4; stroke-width: 1.5; }
.swatch { display: inline-block; width: 14px; height: 10px; margin-right: 4px; }
.swatch.real { background: var(--s0); opacity: .35; }
.swatch.held { border: 1.5px solid var(--s1); }
.swatch.limit { border-top: 2px dashed var(--bad); height: 3px; }
.mark { stroke: var(--card); stroke-width: 1; }
.mark.s0 { fill: var(--s0); } .mark.s1 { fill: var(--s1); } .mark.s2 { fill: var(--s2); }
.mark.s3 { fill: var(--s3); } .mark.s4 { fill: var(--s4); } .mark.s5 { fill: var(--s5); }
.mark.hollow { fill: var(--card); stroke-width: 2.5; }
.hollow.s0 { stroke: var(--s0); } .hollow.s1 { stroke: var(--s1); }
.hollow.s2 { stroke: var(--s2); } .hollow.s3 { stroke: var(--s3); }
.hollow.s4 { stroke: var(--s4); } .hollow.s5 { stroke: var(--s5); }
.narrow { display: none; }
footer { color: var(--soft); font-size: .9rem; }
@media (max-width: 640px) {
  main { padding: 20px 14px 40px; }
  section { padding: 16px; }
  .scroll { margin: 0 -16px; padding: 0 16px; }
  .wide { display: none; } .narrow { display: block; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .tile { padding: 10px 12px; } .tile b { font-size: 1.35rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: 8px; }
  .bars { display: block; }
  .bars li { display: grid; grid-template-columns: 1fr max-content; gap: 2px 12px; }
  .bars .track { grid-column: 1 / -1; order: 3; margin-bottom: 8px; }
  th[scope=row] { min-width: 9.5em; }
}
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""

# Headers become buttons only where scripts run; without them the table is simply in order.
SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
      const rows = [...body.rows].sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
}
"""


def page(title: str, body: Markup) -> str:
    """The whole text of one self-contained file; nothing is fetched and no other script runs."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy()),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    whole = tag("html", head, tag("body", body, tag("script", Markup(SCRIPT))), lang="en")
    return f"<!doctype html>\n{whole}\n"


def _policy() -> str:
    """Only our own script runs and nothing is fetched, whatever a model's names contain."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    rules = ("default-src 'none'", "style-src 'unsafe-inline'", "img-src data:")
    return "; ".join((*rules, f"script-src 'sha256-{digest}'"))
