"""What every report format keeps to, whoever wrote it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gossamer import plugins
from gossamer.report import document
from gossamer.result import ReportFormat, Result
from zoo.results import RESULTS, sample, unmeasured, winner

FORMATS = plugins.names("formats")
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title><b>",
    "| a | b |\n\n# title\n```\n---",
    "{{7*7}} ${x} %s {0}",
    "\x1b]0;title\x07\x00\u202e",
)
texts = st.sampled_from(HOSTILE) | st.text()


def format_of(name: str) -> ReportFormat:
    member = plugins.load("formats", name)()
    assert isinstance(member, ReportFormat)
    return member


def odd_result(text: str) -> Result:
    """A result in which every text that a model file or an error can choose is `text`."""
    best = replace(
        winner(),
        label=text,
        reason=text,
        runtime=text,
        target=text,
        recipe={"cpu": text, "graph-steps": [{text: {}}], text: [text]},
        metrics={text: 1.0},
        files={text: text},
        path=text,
        plan=((text, text, text, text),),
    )
    other = replace(unmeasured("other", "ort", "failed", text), label=text)
    return sample(
        reason=text,
        model={"origin": text, text: text},
        task=sample().task | {"metric": text, "name": text},
        environment={"cpu": text, "threads": 2, "flags": [text]},
        max_drop=text,
        command=text,
        winner=best,
        baseline=best,
        candidates=(best, other),
    )


class Skeleton(HTMLParser):
    """The elements of a page and the names of their attributes, without any text."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[object] = []
        self.depth = 0
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append((tag, tuple(name for name, _ in attrs)))
        self.links += [v or "" for name, v in attrs if name in {"src", "href", "action", "data"}]
        self.depth += tag not in {"meta", "link", "br"}

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.append((tag, tuple(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"/{tag}")
        self.depth -= 1


def skeleton(page: str) -> Skeleton:
    parser = Skeleton()
    parser.feed(page)
    parser.close()
    return parser


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("result", RESULTS)
def test_every_format_writes_every_kind_of_result(name: str, result: str) -> None:
    text = format_of(name).render(RESULTS[result]())

    assert text.endswith("\n")
    read = set(re.findall(r"\w+", text.replace("session.run(None", "")))
    assert not {"None", "nan", "NaN", "inf", "Infinity"} & read


@pytest.mark.parametrize("name", FORMATS)
def test_rendering_is_deterministic(name: str) -> None:
    assert format_of(name).render(sample()) == format_of(name).render(sample())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", HOSTILE)
def test_every_format_survives_hostile_names(name: str, text: str) -> None:
    rendered = format_of(name).render(odd_result(text))

    assert rendered.encode("utf-8")
    assert all(c.isprintable() or c == "\n" for c in rendered) or name == "json"


def test_every_format_has_its_own_file() -> None:
    assert {name: format_of(name).file_name for name in FORMATS} == {
        "card": "README.md",
        "html": "report.html",
        "json": "result.json",
        "mixed-precision": "mixed-precision.md",
        "neural-compressor": "neural-compressor.md",
        "openvino": "openvino.md",
    }
    assert {name for name in FORMATS if format_of(name).is_in_folder} == {"card", "html", "json"}


def test_json_is_the_document() -> None:
    assert json.loads(format_of("json").render(sample())) == document.document(sample())


def test_a_page_fetches_nothing() -> None:
    page = format_of("html").render(sample())

    assert skeleton(page).links == ["data:,"]
    assert not re.search(r"url\(|@import|https?:|fetch\(|//[a-z]", page)


def test_a_page_lets_no_script_but_its_own_run() -> None:
    page = format_of("html").render(sample())

    assert "default-src &#x27;none&#x27;" in page
    assert "script-src &#x27;sha256-" in page


@pytest.fixture(scope="module")
def elements() -> set[object]:
    """Every element that pages with harmless names are made of."""
    results = [odd_result("x"), *(make() for make in RESULTS.values())]
    return {p for r in results for p in skeleton(format_of("html").render(r)).parts}


@settings(max_examples=50)
@given(text=texts)
def test_no_name_brings_an_element_or_an_attribute_into_the_page(
    elements: set[object], text: str
) -> None:
    page = skeleton(format_of("html").render(odd_result(text)))

    assert page.depth == 0
    assert set(page.parts) <= elements


def test_a_page_is_readable_without_scripts() -> None:
    page = format_of("html").render(sample())

    assert "<noscript" not in page
    assert "<button" not in page.split("<script>")[0]
    for label in ("static percentile", "static mse", "/linear/Gemm", "the time was up"):
        assert label in page


def test_a_page_warns_of_made_up_inputs_beside_every_score() -> None:
    page = format_of("html").render(RESULTS["best effort"]())

    assert page.count('<span class="badge warn">synthetic data</span>') == 4
    assert "says nothing about accuracy" in page
    assert "synthetic data" not in format_of("html").render(sample())


@pytest.mark.parametrize(
    "part",
    [
        *("2.91\u00d7", "median 0.101 ms", "p99 0.132 ms", "9901 samples per second", "291 kB"),
        *("61.9 MB", "2.87 to 2.96", "noise floor 1.20 %", "-0.40 to +0.50 points"),
        *("AMD EPYC 9V74, 2 threads", "20 of 24 sites", "Conv 19, Add 1", "128", "(1.28\u00d7)"),
        *(
            "936 samples",
            "gossamer compress resnet20.onnx",
            "gossamer run gossamer-out/recipe.yaml",
        ),
        *("every CPU", "float32 on ort", "onnxruntime 1.31.1", "budget met"),
    ],
)
def test_a_page_says_everything_that_was_measured(part: str) -> None:
    assert part in format_of("html").render(sample())


def front_matter(card: str) -> dict[str, object]:
    _, text, _ = card.split("---\n", 2)
    fields = yaml.safe_load(text)
    assert isinstance(fields, dict)
    return fields


def test_a_card_has_the_front_matter_of_a_model_hub() -> None:
    fields = front_matter(format_of("card").render(sample()))

    assert fields["library_name"] == "gossamer"
    assert fields["tags"] == ["gossamer", "quantized", "int8", "onnx", "onnxruntime"]
    assert fields["metrics"] == ["accuracy"]
    assert fields["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.8125  # type: ignore[index]
    assert "base_model" not in fields


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ({"kind": "hub", "origin": "org/name"}, "org/name"),
        ({"kind": "hugging-face", "hub_id": "org/name"}, "org/name"),
        ({"kind": "hugging-face", "origin": "models/bert"}, None),
        ({"kind": "hub", "origin": "a b/<c>"}, None),
    ],
)
def test_a_card_names_the_base_model_only_by_its_hub_id(
    model: dict[str, str], base: str | None
) -> None:
    assert front_matter(format_of("card").render(sample(model=model))).get("base_model") == base


def test_a_float_winner_is_not_tagged_as_quantized() -> None:
    fields = front_matter(format_of("card").render(RESULTS["float win"]()))

    assert fields["tags"] == ["gossamer", "openvino"]


@pytest.mark.parametrize("result", RESULTS)
def test_a_card_is_markdown_without_html(result: str) -> None:
    check_markdown(RESULTS[result]())


@settings(max_examples=50)
@given(texts)
def test_no_name_brings_html_or_headings_into_a_card(text: str) -> None:
    check_markdown(odd_result(text))


def check_markdown(result: Result) -> None:
    card = format_of("card").render(result)
    fields = front_matter(card)
    assert fields["library_name"] == "gossamer"
    body = card.split("---\n", 2)[2]
    tokens = MarkdownIt().enable("table").parse(body)
    kinds = {t.type for t in tokens} | {c.type for t in tokens for c in t.children or ()}
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}
    headings = [tokens[i + 1].content for i, t in enumerate(tokens) if t.type == "heading_open"]
    assert set(headings[1:]) <= {"Use", "Measured", "Limits", "Reproduce"}


def test_a_card_says_where_the_file_is_safe_and_how_to_make_it_again() -> None:
    card = format_of("card").render(sample())

    assert "every CPU (avx2," in card
    assert "gossamer compress resnet20.onnx" in card
    assert "| latency median, ms | 0.294 | 0.101 |" in card


def test_a_card_warns_of_made_up_inputs_and_of_a_missed_budget() -> None:
    card = format_of("card").render(RESULTS["best effort"]())

    assert "Synthetic data" in card
    assert "The accuracy budget was not met" in card


def test_report_and_card_say_what_is_unproven_of_a_target() -> None:
    won = sample().winner
    assert won is not None
    result = sample(winner=replace(won, target="ort-cuda", runtime="ort-cuda"))

    card, page = (format_of(name).render(result) for name in ("card", "html"))

    assert "not measured on a GPU" in card
    assert "not measured on a GPU" in page
    assert "`onnxruntime-gpu`" in card
    assert 'providers=["CUDAExecutionProvider", "CPUExecutionProvider"]' in card
