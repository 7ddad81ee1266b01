"""The pages as a browser shows them: a headless Chromium from PATH, and no network."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gossamer.report import bench_page, sweep_page
from gossamer.report.diagnosis_page import page as diagnosis_page
from gossamer.report.formats.html import Html
from zoo import benches, diagnoses, sweeps
from zoo.results import RESULTS, sample, searched

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
PAGES: dict[str, Callable[[], str]] = {
    "compress": lambda: Html().render(sample()),
    "best effort": lambda: Html().render(RESULTS["best effort"]()),
    "failed": lambda: Html().render(RESULTS["failed"]()),
    "search": lambda: Html().render(searched()),
    "sweep": lambda: sweep_page.page(sweeps.sample()),
    "bench": lambda: bench_page.page(benches.sample()),
    "diagnosis": lambda: diagnosis_page(diagnoses.sample()),
}
# the least contrast between a visible text and what lies behind it, and that text
FAINTEST = """() => {
  const rgba = text => {
    const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number);
    return [r, g, b, a];
  };
  const light = ([r, g, b]) => [0.2126, 0.7152, 0.0722].reduce((sum, share, i) => {
    const c = [r, g, b][i] / 255;
    return sum + share * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4); }, 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const found = rgba(getComputedStyle(e).backgroundColor);
      if (found[3] === 1) return found;
    }
    return [255, 255, 255, 1];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let worst = [99, ""];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.data.trim() || !element.getClientRects().length || element.closest("title")) continue;
    const front = rgba(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(front), light(behind(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, node.data];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the whole file; the tests skip where there is none."""
    path = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"none of {', '.join(CHROMIUM)} is on PATH")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as running:
        found = running.chromium.launch(executable_path=path)
        yield found
        found.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page in a context of its own; ends with a look at what it asked for and said."""
    asked: list[str] = []
    said: list[str] = []
    contexts = []

    def open_(kind: str, **options: Any) -> Page:
        path = tmp_path / "page.html"
        path.write_text(PAGES[kind](), encoding="utf-8")
        contexts.append(browser.new_context(**{"viewport": WIDE, **options}))
        page = contexts[-1].new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def candidates(page: Page) -> Locator:
    return page.locator("table.linked tbody tr:visible")


def column(page: Page, number: int) -> list[str]:
    return candidates(page).locator(f":scope > :nth-child({number})").all_text_contents()


def told(page: Page) -> str:
    return page.locator(".filter output").first.inner_text()


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_fits_every_screen_and_can_be_read_in_light_and_in_dark(
    opened: Callable[..., Page], kind: str
) -> None:
    page = opened(kind)
    page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")

    for scheme, size in (("light", WIDE), ("dark", PHONE)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        contrast, text = page.evaluate(FAINTEST)

        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        assert paper == {"light": "rgb(247, 247, 244)", "dark": "rgb(20, 23, 26)"}[scheme]
        assert contrast >= 4.5, text


def test_words_filter_the_candidates_and_the_plot_follows(opened: Callable[..., Page]) -> None:
    page = opened("compress")
    assert told(page) == "11 of 11 shown"

    page.get_by_label("search").first.fill("STATIC openvino")

    assert sorted(column(page, 2)) == ["static min-max", "static mse"]
    assert told(page) == "2 of 11 shown"
    marks = page.locator(".wide svg.linked > g")
    assert (marks.count(), page.locator(".wide svg.linked > g:not(.dim)").count()) == (9, 1)


def test_facets_filter_by_keyboard_alone(opened: Callable[..., Page]) -> None:
    page = opened("compress")
    bar = page.locator(".filter").first

    bar.get_by_label("search").focus()
    for _ in range(2):
        page.keyboard.press("Tab")
    page.keyboard.type("within")  # as one chooses in a list
    page.keyboard.press("Tab")
    page.keyboard.type("measured")

    assert bar.get_by_label("budget").input_value() == "within"
    assert bar.get_by_label("status").input_value() == "measured"
    assert set(column(page, 10)) <= {"winner", "baseline", "within budget"}
    assert told(page) == "7 of 11 shown"


def test_a_filter_that_nothing_fits_says_so_and_is_taken_back(opened: Callable[..., Page]) -> None:
    page = opened("compress")
    page.get_by_label("search").first.fill("no such thing")
    none = page.locator(".none:visible")
    assert none.inner_text().startswith("No row fits.")

    none.get_by_role("button").press("Enter")

    assert told(page) == "11 of 11 shown"
    assert page.locator(".none:visible").count() == 0


def test_headings_sort_both_ways_and_keep_the_filter(opened: Callable[..., Page]) -> None:
    page = opened("compress")
    page.get_by_label("runtime").first.select_option("ort")
    score = page.locator("table.linked th button", has_text="score")

    score.press("Enter")
    up = column(page, 4)
    score.press("Enter")
    down = column(page, 4)

    assert up == [*sorted(up[:-1]), "\u2013"]  # what has no score is last either way
    assert down == [*up[-2::-1], "\u2013"]
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("score")


def test_a_mark_and_its_row_light_up_together(opened: Callable[..., Page]) -> None:
    page = opened("compress")
    row = page.locator("table.linked tbody tr.winner")
    mark = page.locator(f".wide svg.linked > g[data-mark='{row.get_attribute('data-mark')}']")

    row.hover()
    assert "lit" in (mark.get_attribute("class") or "")
    mark.locator(".mark").hover()
    assert "lit" in (row.get_attribute("class") or "")
    assert "static percentile on ort: 0.8130, 0.101 ms" in page.locator(".told").first.inner_text()


def test_marks_are_gone_through_by_arrows_and_lead_to_their_rows(
    opened: Callable[..., Page],
) -> None:
    page = opened("compress")
    first = page.locator(".wide svg.linked > g[tabindex='0']")
    assert first.count() == 1

    first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("table.linked tr.lit").get_attribute("data-mark") == "2"
    page.keyboard.press("Enter")

    assert page.evaluate(
        "document.activeElement.tagName + document.activeElement.dataset.mark"
    ) == ("TR2")
    page.keyboard.press("ArrowDown")
    assert page.locator("table.linked tr.lit").get_attribute("data-mark") == "3"


def test_without_scripts_everything_is_there(opened: Callable[..., Page]) -> None:
    page = opened("compress", java_script_enabled=False)

    assert candidates(page).count() == 11
    assert page.locator("button, input, select").count() == 0
    assert page.locator(".wide svg.linked > g > title").count() == 9


def test_a_finger_finds_everything_that_can_be_pressed(opened: Callable[..., Page]) -> None:
    page = opened("search", viewport=PHONE, has_touch=True, is_mobile=True)
    heights = page.evaluate(
        "[...document.querySelectorAll('button, input, select, summary')]"
        ".filter(e => e.getClientRects().length).map(e => e.getBoundingClientRect().height)"
    )

    assert min(heights) >= 40


def test_paper_shows_no_controls_and_is_white(opened: Callable[..., Page]) -> None:
    page = opened("search", color_scheme="dark", viewport={"width": 760, "height": 1000})
    page.emulate_media(media="print", color_scheme="dark")

    assert page.locator(".filter:visible").count() == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(FAINTEST)[0] >= 4.5
    assert page.evaluate("document.documentElement.scrollWidth") == 760
