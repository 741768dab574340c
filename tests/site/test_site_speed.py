"""How soon a page can be read, and whether it jumps: run by ``make site-test``.

Seconds depend on the machine, and on what else it does. So each page is opened in turns with a bare one, which waits
for the same MathJax to set a screen of formulas and holds nothing else, and its time is told in times of that one's.
The bounds stand between what was measured 30 times each, on a core with other work, when MathJax set a whole page at
once and now that it sets the window first: medians of 6.8 and 3.1 for the chapter, 1.9 and 1.4 for the front page,
whose bound only leaves room; and jumps of 0.23 and 0.01, 0.47 and 0.005.
"""

import statistics
from pathlib import Path

import pytest
from built_site import PAGES, SITE, visit, window

pytestmark = pytest.mark.site

LONGEST = max(PAGES, key=lambda page: (SITE / page).read_text("utf-8").count('class="math '), default="")
WATCH = Path(__file__).with_name("watch.js").read_text("utf-8")
FAR = """() => [...document.querySelectorAll(".math:not(:has(mjx-container))")]
  .filter((formula) => formula.checkVisibility({ visibilityProperty: true })).length"""
IN_TAB_ORDER = """() => [...document.querySelectorAll("mjx-container, mjx-container *")]
  .filter((part) => part.tabIndex >= 0).map((part) => part.outerHTML.slice(0, 80))"""


def opened(context, url):
    """Open a page and wait for its first screen, and for what follows at once."""
    tab = context.new_page()
    tab.add_init_script(WATCH)
    tab.goto(url, wait_until="load")
    tab.wait_for_function("seen.usable && seen.formulas")
    tab.wait_for_timeout(500)
    return tab


@pytest.fixture(scope="module")
def seen(browser, bases):
    """What watch.js notes on pages never visited, five times each, in turns."""
    loads = {"bare.html": [], "index.html": [], LONGEST: []}
    for _ in range(5):
        for page, noted in loads.items():
            context = window(browser)
            noted.append(opened(context, f"{bases['http']}/{page}").evaluate("seen"))
            context.close()
    return loads


def times_a_bare_page(seen, page, what):
    pairs = zip(seen[page], seen["bare.html"], strict=True)
    return statistics.median(load[what] / bare["formulas"] for load, bare in pairs)


def test_the_first_screen_of_the_longest_chapter_has_its_formulas_at_once(seen):
    assert times_a_bare_page(seen, LONGEST, "formulas") < 5


def test_the_front_page_can_be_used_at_once(seen):
    assert times_a_bare_page(seen, "index.html", "usable") < 2.5


@pytest.mark.parametrize("page", ["index.html", LONGEST])
def test_nothing_jumps_while_a_page_opens(page, seen):
    assert statistics.median(load["jumps"] for load in seen[page]) < 0.1


def test_formulas_are_set_before_they_are_scrolled_to_and_nothing_jumps(browser, bases):
    context = window(browser)
    tab = opened(context, f"{bases['http']}/{LONGEST}")
    assert tab.evaluate(FAR) > 0
    tab.mouse.move(700, 450)
    before, further = tab.evaluate("seen.jumps"), "scrollY + innerHeight < document.body.scrollHeight - 2"
    while tab.evaluate(further):
        tab.mouse.wheel(0, 300)
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    assert tab.evaluate(FAR) == 0
    assert tab.evaluate("seen.jumps") - before < 0.1
    context.close()


def test_no_formula_is_in_the_tab_order(tab, bases):
    visit(tab, f"{bases['http']}/{LONGEST}")
    assert tab.evaluate(IN_TAB_ORDER) == []


def test_a_printed_page_has_all_its_formulas(tab, bases):
    tab.goto(f"{bases['http']}/{LONGEST}")
    tab.pdf()
    assert tab.locator(".math").count() == tab.locator(".math mjx-container").count()
