"""HTML that is escaped by construction: only `tag` makes markup, and it escapes every text."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = frozenset({"meta", "link", "br"})  # HTML elements without an end tag
KEPT = "\n\t"


class Markup(str):
    """Text that is HTML already; made by `tag` and `join`, or from our own constants."""

    __slots__ = ()


Child = str | None


def tag(name: str, /, *children: Child, **attributes: object) -> Markup:
    """One element. Children that are no `Markup` are escaped; None is left out.

    Attribute names lose a trailing underscore and turn `_` into `-`; False and None leave the
    attribute out, True writes it without a value.
    """
    opening = f"<{name}{''.join(_attribute(k, v) for k, v in attributes.items())}"
    if name in VOID:
        return Markup(f"{opening}>")
    return Markup(f"{opening}>{join(children)}</{name}>")


def join(children: Iterable[Child], separator: str = "") -> Markup:
    """Children one after the other, escaped like those of `tag`."""
    return Markup(separator.join(escape(child) for child in children if child is not None))


def escape(text: str) -> Markup:
    """Text as HTML shows it; control characters and unpaired surrogates become visible escapes."""
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(printable(text), quote=True))


def printable(text: str, kept: str = KEPT) -> str:
    r"""Text in which every character that cannot be seen is written out as an escape.

    Names come from model files that nobody vouches for: an ESC would steer a terminal, a
    right-to-left mark would turn a line around, a NUL ends a page.

    >>> printable("a\x1b[31m")
    'a\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else _visible(c) for c in text)


def _visible(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def _attribute(name: str, value: object) -> str:
    key = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {key}"
    return f' {key}="{html.escape(printable(str(value)), quote=True)}"'
