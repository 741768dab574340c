"""What readers do on the built site, over http and as files: run by ``make site-test``."""

import re

import pandas as pd
import pytest
from built_site import PAGES, PHONE, markup, resolve, visit

pytestmark = pytest.mark.site

MODES = pytest.mark.parametrize("mode", ["http", "file"])
SCROLLS = """() => {
  const wide = [...document.querySelectorAll("article [tabindex='0']")].find(
    (e) => e.checkVisibility({ contentVisibilityAuto: true }) && e.scrollWidth > e.clientWidth + 20
  );
  wide?.setAttribute("id", "wide");
  return Boolean(wide);
}"""

# Of each formula, from its box: is it wider, is its end in sight after scrolling, does the keyboard stop there?
FORMULAS = """() => [...document.querySelectorAll("article div.math mjx-container")].map((box) => {
  const [formula] = box.querySelectorAll(":scope > mjx-math");
  const wider = box.scrollWidth > box.clientWidth + 1;
  box.scrollLeft = box.scrollWidth;
  const ends = formula.getBoundingClientRect().right <= Math.min(box.getBoundingClientRect().right, innerWidth) + 1;
  return { wider, ends, stops: box.tabIndex === 0, formula: formula.parentElement.innerText.slice(0, 80) };
})"""


@MODES
def test_next_and_previous_turn_the_page(mode, tab, bases):
    first = "index.html"
    second = resolve(first, markup(first).walk["right-next"])[0]
    tab.goto(f"{bases[mode]}/{first}")
    tab.click("a.right-next")
    tab.wait_for_url(f"{bases[mode]}/{second}")
    tab.click("a.left-prev")
    tab.wait_for_url(f"{bases[mode]}/{first}")


@MODES
def test_a_reference_leads_to_an_equation_on_another_page(mode, tab, bases):
    crossings = (
        (page, link)
        for page in PAGES
        for link in sorted(markup(page).links)
        if re.match(r"[\w-]+\.html#equation-eq-\d$", link) and resolve(page, link)[0] != page
    )
    page, link = next(crossings, (None, None))
    assert page, "no page refers to an equation on another one"
    visit(tab, f"{bases[mode]}/{page}")
    tab.locator(f"a[href='{link}']:visible").first.click()
    tab.wait_for_url(f"**/{link}")
    tab.wait_for_function(
        "(id) => { const top = document.getElementById(id).getBoundingClientRect().top;"
        "return top >= -1 && top < innerHeight; }",
        arg=link.partition("#")[2],
        timeout=5000,
    )


@MODES
@pytest.mark.parametrize(("word", "page"), [("kurtosis", "01_hierarchies"), ("tempered", "04_the_vae")])
def test_search_finds(word, page, mode, tab, bases):
    tab.goto(f"{bases[mode]}/search.html?q={word}")
    tab.wait_for_selector(f"#search-results ul.search li a[href^='{page}.html']", timeout=10_000)


@MODES
def test_dark_mode_can_be_switched(mode, tab, bases):
    tab.goto(f"{bases[mode]}/index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for _ in range(3):
        tab.locator("button.theme-switch-button:visible").first.click()
        seen[tab.evaluate("document.documentElement.dataset.theme")] = tab.evaluate(background)
    assert set(seen) == {"light", "dark"}
    assert seen["light"] != seen["dark"]


@MODES
def test_a_click_saves_the_numbers_of_a_figure(mode, tab, bases, tmp_path):
    page = next(page for page in PAGES if markup(page).downloads)
    tab.goto(f"{bases[mode]}/{page}")
    link = tab.locator("a[download][href^='data:text/csv']").first
    link.evaluate("(link) => { const folded = link.closest('details'); if (folded) folded.open = true; }")
    with tab.expect_download() as waiting:
        link.click()
    waiting.value.save_as(tmp_path / "saved.csv")
    assert waiting.value.suggested_filename == link.get_attribute("download")
    assert len(pd.read_csv(tmp_path / "saved.csv")) > 0


@pytest.mark.parametrize("page", ["02_gradients", "03_the_kl_alone", "04_the_vae", "05_more_layers"])
def test_a_formula_wider_than_a_phone_scrolls_in_its_box(page, tab, bases):
    tab.set_viewport_size(PHONE)
    visit(tab, f"{bases['http']}/{page}.html")
    tab.evaluate("document.querySelectorAll('article details').forEach((folded) => { folded.open = true; })")
    tab.wait_for_timeout(500)  # boxes that are opened are looked at after the next frame
    formulas = tab.evaluate(FORMULAS)
    assert any(one["wider"] for one in formulas)
    assert [one for one in formulas if not one["ends"] or one["stops"] != one["wider"]] == []
    assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_keyboard_scrolls_what_is_too_wide_for_a_phone(tab, bases):
    tab.set_viewport_size(PHONE)
    for page in (page for page in PAGES if markup(page).has_code_cells):
        visit(tab, f"{bases['http']}/{page}")
        if tab.evaluate(SCROLLS):
            break
    wide = tab.locator("#wide")
    wide.focus()
    for _ in range(10):  # a key that is pressed while a busy page still settles is lost, as it is for a reader
        tab.keyboard.press("ArrowRight")
        tab.wait_for_timeout(500)
        if moved := wide.evaluate("(element) => element.scrollLeft"):
            break
    assert moved > 0
