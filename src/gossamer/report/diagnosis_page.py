"""A diagnosis as one self-contained HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossamer.report import diagnosis as lines
from gossamer.report import words
from gossamer.report.histogram import histogram
from gossamer.report.markup import Markup, join, printable, tag
from gossamer.report.page import page as whole_page
from gossamer.report.parts import TABLE, facts, number_cell, row, section, table, tile

if TYPE_CHECKING:
    from gossamer.diagnosis import Diagnosis, SiteDiagnosis, Tensor
    from gossamer.result import Candidate

LISTED = 10  # sites in sight; the others unfold
PICTURED = 6  # sites whose operands are drawn
DRAWN = 3  # operands of each
BADGES = {"healthy": "good", "cured": "good", "not cured": "warn"}
SITES = (
    ("site", ""), ("finding", ""), ("alone, dB", "num"), ("outputs, dB", "num"),
    ("together, dB", "num"), ("score without", "num"),
)  # fmt: skip
CURES = (("recipe", ""), ("score", "num"), ("drop", "num"), ("outputs, dB", "num"), ("outcome", ""))


def page(found: Diagnosis) -> str:
    """The whole text of the file."""
    name = printable(found.quantized.rsplit("/", 1)[-1], "")
    body = tag(
        "main",
        _head(found, name),
        _scores(found),
        _sites(found),
        _pictures(found),
        _cures(found),
        _next(found),
        _method(),
        tag("footer", "Written by gossamer. The same numbers, for programs: diagnosis.json."),
    )
    return whole_page(f"{name}: gossamer diagnosis", body)


def _head(found: Diagnosis, name: str) -> Markup:
    return tag(
        "header",
        tag(
            "div",
            tag("span", "gossamer diagnose"),
            tag("strong", name),
            tag("span", found.outcome, class_=f"badge {BADGES[found.outcome]}"),
            tag("span", "synthetic data", class_="badge warn") if found.task["synthetic"] else None,
            class_="top",
        ),
        tag("h1", lines.headline(found)),
        tag("p", f"Worst site: {_worst(found)}", class_="lead") if found.sites else None,
    )


def _worst(found: Diagnosis) -> str:
    site = found.sites[0]
    return f"{site.site} ({site.op}): {site.finding}."


def _scores(found: Diagnosis) -> Markup:
    metric = str(found.task["metric"])
    tiles = [
        tile(words.number(found.float_score), f"{metric}, float"),
        tile(words.number(found.score), f"{metric}, given"),
        tile(f"{words.decibels(found.sqnr_db)} dB", "given outputs against float"),
    ]
    if found.cure is not None:
        tiles.append(tile(words.number(found.cure.score), f"{metric}, {found.cure.label}"))
    return section(
        "Scores",
        tag("div", *tiles, class_="tiles"),
        tag("p", lines.proof(found)) if found.report else None,
        facts(
            {
                "Rows": found.task["rows"],
                "Budget": found.max_drop,
                "Target": f"{found.target}, right on {found.cpu} CPUs",
                "Float model": found.model,
                "Time": words.duration(found.seconds),
            }
        ),
    )


def _sites(found: Diagnosis) -> Markup:
    caption = f"{len(found.sites)} sites, the worst first."
    first, rest = found.sites[:LISTED], found.sites[LISTED:]
    unmatched = ", ".join(found.unmatched)
    return section(
        "Sites",
        table(SITES, map(_site, first), caption, TABLE, ("operator",)),
        tag(
            "details",
            tag("summary", f"{len(rest)} more sites"),
            table(SITES, map(_site, rest), "Sites that do less.", TABLE, ("operator",)),
        )
        if rest
        else None,
        tag("p", f"The float model does not have these values: {unmatched}.", class_="soft")
        if unmatched
        else None,
    )


def _site(site: SiteDiagnosis) -> Markup:
    below = f"{words.decibels(site.without_db)} dB" if site.without_db is not None else ""
    return row(
        tag("th", tag("code", site.site), tag("small", f" {site.op}"), scope="row"),
        tag("td", "; ".join(p for p in (site.finding, site.unmatched) if p), class_="why"),
        number_cell(words.decibels(site.alone_db), site.alone_db),
        number_cell(words.decibels(site.output_db), site.output_db),
        number_cell(words.decibels(site.accumulated_db), site.accumulated_db),
        number_cell(words.number(site.without_score), site.without_score, below),
        facets=(site.op,),
    )


def _pictures(found: Diagnosis) -> Markup | None:
    shown = [site for site in found.sites[:PICTURED] if site.tensors]
    if not shown:
        return None
    key = (("real", "float"), ("held", "stored"), ("limit", "end of what can be stored"))
    legend = join(
        (join((tag("span", class_=f"swatch {name}"), f"{text} ")) for name, text in key), " "
    )
    parts = [
        join(
            (
                tag("h3", tag("code", site.site), f" ({site.op})"),
                tag("div", *map(_picture, _noisiest(site)), class_="figures"),
            )
        )
        for site in shown
    ]
    return section(
        "What the worst sites store",
        tag("p", legend, class_="soft"),
        *parts,
        tag("p", "Heights are shares of the elements, on a logarithmic scale.", class_="soft"),
    )


def _noisiest(site: SiteDiagnosis) -> list[Tensor]:
    return sorted(site.tensors, key=lambda t: t.sqnr_db)[:DRAWN]


def _picture(tensor: Tensor) -> Markup:
    told = (
        f"{tensor.sqnr_db:.1f} dB; clipped {words.percent(tensor.clipped)}; uses "
        f"{words.percent(tensor.used)} of {tensor.range_low:.4g} to {tensor.range_high:.4g}; "
        f"{tensor.steps} of {tensor.most_steps} steps"
    )
    poor = f"; {tensor.poor} of {tensor.channels} channels use few steps" if tensor.poor else ""
    caption = tag("figcaption", tag("b", f"{tensor.kind} {tensor.name}"), f": {told}{poor}")
    return tag("figure", histogram(tensor), caption)


def _cures(found: Diagnosis) -> Markup | None:
    if not found.cures:
        return None
    caption = "In the order in which they were tried, cheapest first."
    return section(
        "Cures tried",
        table(CURES, [_cure(found, cure) for cure in found.cures], caption, "sortable"),
    )


def _cure(found: Diagnosis, cure: Candidate) -> Markup:
    is_best = found.cure is not None and cure.id == found.cure.id
    outcome = "within the budget" if cure.within_budget else cure.reason or "over budget"
    noise = cure.metrics.get("outputs_sqnr_db")
    return tag(
        "tr",
        tag("th", f"\u2605 {cure.label}" if is_best else cure.label, scope="row"),
        number_cell(words.number(cure.score), cure.score),
        number_cell(words.drop_units(cure), cure.drop),
        number_cell(words.decibels(noise), noise),
        tag("td", outcome, class_="why"),
        class_="winner" if is_best else None,
    )


def _next(found: Diagnosis) -> Markup | None:
    parts = []
    if found.command:
        parts += [tag("p", "This diagnosis:"), tag("pre", tag("code", found.command))]
    if found.cure is not None:
        parts += [
            tag("p", "The cured model files:"),
            tag("pre", tag("code", lines.command(found))),
        ]
    return section("Apply", *parts) if parts else None


def _method() -> Markup:
    return section(
        "How it was measured",
        tag(
            "p",
            "SQNR is signal power over noise power against the float model, summed over all rows. "
            "Alone: at the output of the site, reading what the float model computes. Outputs: of "
            "the worst model output with this site alone quantized. Together: at the output of the "
            "site in the whole quantized model. Score without: of the quantized model with this "
            "site in float, for the worst sites. Scores come from the target's runtime on this "
            "machine; errors at sites from what the stored numbers say.",
        ),
    )
