"""HTML that is escaped by construction."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from gossamer.report.markup import escape, join, printable, tag


class Reader(HTMLParser):
    """What a browser makes of a piece of HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


@given(st.text(), st.text())
def test_any_text_is_shown_and_none_is_obeyed(child: str, attribute: str) -> None:
    reader = read(tag("p", child, title=attribute))

    assert reader.tags == ["p"]
    assert reader.text == printable(child, "\n\t")
    assert reader.attributes == [("title", printable(attribute, "\n\t"))]


def test_markup_is_not_escaped_twice() -> None:
    assert tag("p", tag("b", "<")) == "<p><b>&lt;</b></p>"
    assert join(["<", tag("i", "x")], ", ") == "&lt;, <i>x</i>"


def test_missing_children_and_attributes_are_left_out() -> None:
    assert tag("p", None, "a", class_=None, hidden=True, title=False) == "<p hidden>a</p>"


def test_void_elements_have_no_end() -> None:
    assert tag("meta", charset="utf-8") == '<meta charset="utf-8">'


def test_what_cannot_be_seen_is_written_out() -> None:
    assert escape("a\x00\x1b[31m\u202eb") == "a\\x00\\x1b[31m\\u202eb"
    assert printable("\ud800", "") == "\\ud800"
    assert printable("a\nb") == "a\nb"
    assert printable("a\nb", "") == "a\\nb"
