"""What makes an HTML report one whole file: one style sheet and one script, both inline."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

from gossamer.report.markup import Markup, tag


def page(title: str, body: Markup) -> str:
    """The whole text of one self-contained file; nothing is fetched and no other script runs."""
    script = _part("page.js")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", _part("page.css")),
    )
    whole = tag("html", head, tag("body", body, tag("script", script)), lang="en")
    return f"<!doctype html>\n{whole}\n"


@functools.cache
def _part(name: str) -> Markup:
    """A file of the package as it stands in the page."""
    return Markup(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


def _policy(script: str) -> str:
    """Only our own script runs and nothing is fetched, whatever a model's names contain."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rules = ("default-src 'none'", "style-src 'unsafe-inline'", "img-src data:")
    return "; ".join((*rules, f"script-src 'sha256-{digest}'"))
