"""Tables are read with the quirks that real files have, and columns are found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gossamer.errors import DataError, GossamerError, RecipeError
from gossamer.tasks._columns import asked_columns, find_columns, is_number
from gossamer.tasks._tables import read_table


def rows(path: Path, text: str | bytes) -> tuple[tuple[str, ...], ...]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path).rows


def columns(path: Path, text: str, asked: str | None = None) -> str:
    path.write_text(text, encoding="utf-8")
    found = find_columns(read_table(path), asked_columns(asked) if asked else None)
    return f"{found.describe()} skip={found.skip}"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.tsv", "x y\t1\nz\t0\n", (("x y", "1"), ("z", "0"))),
        ("a.tsv", "x\t1\r\nz\t0", (("x", "1"), ("z", "0"))),
        ("a.tsv", "\ufeffx\t1\n\nz\t0\n\n", (("x", "1"), ("z", "0"))),
        ("a.tsv", '"open\t1\nhe said "no"\t0\n', (('"open', "1"), ('he said "no"', "0"))),
        ("a.tsv", '"a\tb"\t1\nc\t0\n', (("a\tb", "1"), ("c", "0"))),
        ("a.tsv", "a\u2028b\x85c\t1\nd\t0\n", (("a\u2028b\x85c", "1"), ("d", "0"))),
        ("a.tsv", "gj04\t1\t\tA.\n", (("gj04", "1", "", "A."),)),
        ("a.csv", '"a, ""b""",1\nc,0\n', (('a, "b"', "1"), ("c", "0"))),
        ("a.csv", '"two\nlines",1\nc,0\n', (("two\nlines", "1"), ("c", "0"))),
        ("a.csv", "a, b;1\nc;0\n", (("a, b", "1"), ("c", "0"))),
        ("a.csv", "a,1\n\nb,0\n", (("a", "1"), ("b", "0"))),
    ],
)
def test_cells_are_separated_as_the_format_does(
    tmp_path: Path, name: str, text: str, expected: Any
) -> None:
    assert rows(tmp_path / name, text) == expected


def test_objects_on_lines_give_named_columns(tmp_path: Path) -> None:
    lines = [{"text": "a", "label": 1}, {"label": True, "text": None, "more": [1]}]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")

    table = read_table(path)

    assert table.header == ("text", "label", "more")
    assert table.rows == (("a", "1", ""), ("", "1", ""))


def test_parquet_gives_named_columns(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"text": ["a", "b"], "label": [1, 0]}), tmp_path / "a.parquet")

    table = read_table(tmp_path / "a.parquet")

    assert (table.header, table.rows) == (("text", "label"), (("a", "1"), ("b", "0")))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", b"caf\xe9\t1\n", "text in UTF-8"),
        ("a.tsv", b"a\t1\nb\n", "1 in row 2"),
        ("a.csv", b"a,1\nb,c,0\n", "3 in row 2"),
        ("a.csv", b'"a,1\nb,0\n', "quoted cells closed"),
        ("a.tsv", b"\n\n", "at least one row"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2"),
        ("a.jsonl", b"[1]\n", "one JSON object per line"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(
    tmp_path: Path, name: str, text: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        rows(tmp_path / name, text)


def test_parquet_that_is_none_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")

    with pytest.raises(DataError, match="a parquet file"):
        rows(tmp_path / "a.parquet", b"PAR1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a film\t1\nthe play\t0\nno good\t1\n", "text=0,label=1 skip=0"),
        ("1\ta film\n0\tthe play\n1\tno good\n", "text=1,label=0 skip=0"),
        ("gj04\t1\t\tA b.\ncj99\t0\t*\tC d.\ngj04\t1\t\tE f.\n", "text=3,label=1 skip=0"),
        ("A b\tC d\t4.75\nE f\tG h\t5.0\nI j\tK l\t5.0\n", "text=0,pair=1,label=2 skip=0"),
        ("a b\tpos\nc d\tneg\ne f\tpos\ng h\tneg\n", "text=0,label=1 skip=0"),
        ("one\t1\ntwo\t0\nthree\t0\n", "text=0,label=1 skip=0"),
        ("sentence\tlabel\na film\t1\nb film\t0\n", "text=sentence,label=label skip=1"),
        (
            "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta b\tc d\n0\t9\t7\te f\tg h\n",
            "text=#1 String,pair=#2 String,label=Quality skip=1",
        ),
        (
            "index\tsentence1\tsentence2\tlabel\n1\ta b\tc d\tyes\n4\te f\tg h\tno\n",
            "text=sentence1,pair=sentence2,label=label skip=1",
        ),
        ("words\tgrade\na film\t1\nb film\t0\nc film\t1\n", "text=words,label=grade skip=1"),
    ],
)
def test_columns_are_found_by_name_or_content(tmp_path: Path, text: str, expected: str) -> None:
    assert columns(tmp_path / "a.tsv", text) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("text=2,label=0", "text=2,label=0 skip=0"),
        (" label = 0 , text = 1 , pair = 2", "text=1,pair=2,label=0 skip=0"),
    ],
)
def test_columns_are_those_that_were_asked_for(tmp_path: Path, asked: str, expected: str) -> None:
    text = "1\ta b\tc d\n0\te f\tg h\n"

    assert columns(tmp_path / "a.tsv", text, asked) == expected


def test_asking_by_name_makes_the_first_row_a_header(tmp_path: Path) -> None:
    text = "p\tq\tr\na b\tc d\tx\ne f\tg h\ty\n"

    assert columns(tmp_path / "a.tsv", text, "text=q,label=r") == "text=q,label=r skip=1"


def test_a_header_is_left_out_when_asking_by_index(tmp_path: Path) -> None:
    text = "label\tsentence\n1\ta b\n0\tc d\n"

    assert columns(tmp_path / "a.tsv", text, "text=1,label=0").endswith("skip=1")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("text", "columns like text=0"),
        ("text=0", "one for label"),
        ("txt=0,label=1", "Did you mean text"),
        ("text=0,label=", "columns like text=0"),
    ],
)
def test_columns_that_are_asked_wrongly_are_refused(asked: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        asked_columns(asked)


@pytest.mark.parametrize(
    ("text", "asked", "message"),
    [
        ("a b\t1\nc d\t0\n", "text=5,label=1", "There are: 0 to 1"),
        ("a b\tlabel\nc d\t0\n", "text=sentence,label=label", "There are: a b, label"),
        ("a b\t1\t0\nc d\t0\t1\ne f\t1\t1\n", None, "one column that can be the label"),
        ("a b\tc\nd e\tf\ng h\ti\n", None, "none that looks like it"),
        ("a b\tc d\te f\t1\ng h\ti j\tk l\t1\nm n\to p\tq r\t0\n", None, "3 that look like it"),
        ("1\t2\t5\n3\t4\t5\n", None, "0 that look like it"),
        ("sentence\tlabel\n", None, "a header alone|that looks like"),
    ],
)
def test_columns_that_cannot_be_told_are_asked_for(
    tmp_path: Path, text: str, asked: str | None, message: str
) -> None:
    with pytest.raises(GossamerError, match=message):
        columns(tmp_path / "a.tsv", text, asked)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", True), ("-2.5", True), (".5", True), ("1e3", True), ("", False), ("nan", False)],
)
def test_numbers_are_decimal(text: str, expected: bool) -> None:
    assert is_number(text) is expected
