"""Every page in a browser (of the source listings the largest), over http and as a file: run by ``make site-test``."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from built_site import DESKTOP, LOCAL, PAGES, PHONE, TABLET, sample, visit, window

pytestmark = pytest.mark.site

FACTS, WIDTHS = ((Path(__file__).with_name(name)).read_text("utf-8") for name in ("facts.js", "widths.js"))
SIZES = {"desktop": DESKTOP, "tablet": TABLET, "phone": PHONE}
# Each kind of token once: axe's work grows with the number of elements, and a page has thousands of coloured words.
ONE_TOKEN_OF_A_KIND = """() => {
  const seen = new Set();
  for (const token of document.querySelectorAll("pre span[class]")) {
    const around = [token.parentElement, token.closest("div.cell_output, div.cell_input")];
    const kind = [token, ...around].map((element) => element?.className).join("|");
    if (seen.has(kind)) token.replaceWith(...token.childNodes);
    seen.add(kind);
  }
}"""
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# A theme changes nothing but colours.
COLOUR_RULES = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
ANYWHERE = ["outside", "console", "failed", "bare_math", "math_errors", "raw_tex", "missing_fonts", "broken_images"]
SHOWN = ["images_without_alt", "parted_marks", "stderr_blocks", "progress_bars", "warnings"]
ONCE = [*SHOWN, "unseen_ways_on", "still_folded"]


@pytest.fixture(scope="session")
def contexts(browser):
    """Return a window for each way to read the site; what a page fetched is there for the next one."""
    opened = {mode: window(browser, color_scheme="light") for mode in ("http", "file")}
    yield opened
    for context in opened.values():
        context.close()


def watched(context, base):
    """Return a new tab, and what it asks for and complains about."""
    tab, seen = context.new_page(), {"outside": [], "console": [], "failed": []}
    tab.on("request", lambda r: r.url.startswith((base, *LOCAL)) or seen["outside"].append(r.url))
    tab.on("console", lambda m: m.type in ("error", "warning") and seen["console"].append(m.text))
    tab.on("pageerror", lambda e: seen["console"].append(str(e)))
    tab.on("requestfailed", lambda r: seen["failed"].append(r.url))
    tab.on("response", lambda r: r.status >= 400 and seen["failed"].append(f"{r.status} {r.url}"))
    return tab, seen


def unfold(tab):
    """Open everything folded, the first of a kind with the mouse, and return what stays closed."""
    for folds in ("article details:not([open]) > summary", "article .toggle-hidden button.toggle-button"):
        shown = tab.locator(folds).locator("visible=true")  # a solution may lie in a closed block
        if shown.count():
            shown.first.click()
            tab.evaluate("(folds) => document.querySelectorAll(folds).forEach((fold) => fold.click())", folds)
    closed = tab.locator("article .toggle-hidden, article details:not([open])")
    return [element.inner_text()[:80] for element in closed.all()]


def faults(tab, rules):
    """List what axe finds, with its advice."""
    options = {"runOnly": rules, "resultTypes": ["violations"], "preload": False}
    found = Axe().run(tab, options=options).response["violations"]
    return [(v["id"], n["html"][:120], n["failureSummary"]) for v in found for n in v["nodes"]]


def in_both_themes(tab):
    """Return axe's findings in the light theme, and those on colours after the reader's system turned dark."""
    tab.evaluate(ONE_TOKEN_OF_A_KIND)
    # The header lies over what is scrolled below it; axe would call that a button too small.
    tab.evaluate("scrollTo({top: 0, behavior: 'instant'})")
    found = {}
    for scheme, rules in (("light", AXE_RULES), ("dark", COLOUR_RULES)):
        tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        found[scheme] = faults(tab, rules)
    return found


def at_each_width(tab):
    found = {}
    for name, size in SIZES.items():
        tab.set_viewport_size(size)
        found[name] = tab.evaluate(WIDTHS)
        if found[name]["unreachable"]:
            tab.wait_for_timeout(600)  # the theme waits for the end of a change of width
            found[name] = tab.evaluate(WIDTHS)
    tab.set_viewport_size(DESKTOP)
    return found


@pytest.fixture(scope="module", params=sample(PAGES))
def page(request, contexts, bases):
    """A page over http, with everything folded opened: what it shows, at three widths and in both themes."""
    tab, seen = watched(contexts["http"], bases["http"])
    visit(tab, f"{bases['http']}/{request.param}")
    seen |= tab.evaluate(FACTS) | {"still_folded": unfold(tab)}
    seen |= {"widths": at_each_width(tab), "axe": in_both_themes(tab)}
    tab.close()
    return seen


@pytest.fixture(scope="module", params=sample(PAGES))
def page_as_file(request, contexts, bases):
    tab, seen = watched(contexts["file"], bases["file"])
    visit(tab, f"{bases['file']}/{request.param}")
    seen |= tab.evaluate(FACTS)
    tab.close()
    return seen


@pytest.mark.parametrize("problem", ANYWHERE + ONCE)
def test_page_has_no(problem, page):
    assert page[problem] == []


@pytest.mark.parametrize("problem", ANYWHERE)
def test_page_as_a_file_has_no(problem, page_as_file):
    assert page_as_file[problem] == []


def test_page_has_a_title_and_a_language(page):
    assert page["title"].strip(" —-")
    assert page["lang"] == "en"


def test_page_numbers_equations_as_the_source_does(page):
    for anchor, shown in page["equations"]:
        if number := re.fullmatch(r"equation-eq-(\d)", anchor):
            assert re.match(r"\(\d+\)", shown)[0] == f"({number[1]})"


@pytest.mark.parametrize("size", SIZES)
def test_page_fits(size, page):
    found = page["widths"][size]
    assert found["overflow"] == 0, found["sticks_out"]
    assert found["cut"] == [], "hidden where it is too wide"


@pytest.mark.parametrize("size", SIZES)
def test_keyboard_reaches_what_scrolls_on(size, page):
    assert page["widths"][size]["unreachable"] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_the_theme(theme, page):
    assert page["axe"][theme] == []
