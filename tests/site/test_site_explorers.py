"""The interactive figures in a browser, opened as files: run by ``make site-test``."""

import json
import re
import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import test_site
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from test_site import AXE_RULES, CHROMIUM_ARGS, DESKTOP, PHONE, chromium_path, visit

pytestmark = pytest.mark.site

PAGES = {"density": "01_hierarchical_posteriors", "flow": "06_the_kl_alone", "tempering": "07_the_vae"}
FIGURE = "figure.explorer"
STATE = """(figure) => ({
  sentence: figure.querySelector(".explorer-sentence").textContent,
  labels: [...figure.querySelectorAll("svg[role=img]")].map((e) => e.getAttribute("aria-label")),
  outputs: [...figure.querySelectorAll("output")].map((e) => e.textContent),
  spoken: [...figure.querySelectorAll("input")].map((e) => e.getAttribute("aria-valuetext")),
  curves: [...figure.querySelectorAll("g > path")].map((e) => e.getAttribute("d")),
})"""
# One move after another, from the event to the finished layout, in milliseconds.
MOVES = """(figure) => [...figure.querySelectorAll("input")].flatMap((slider) =>
  [...Array(Number(slider.max) + 1).keys()].map((value) => {
    const start = performance.now();
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    figure.getBoundingClientRect();
    return performance.now() - start;
  }))"""


@pytest.fixture(scope="module")
def thread():
    """A thread for Playwright: it can be started only once in each, and test_site.py has it open in the main one."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture(scope="module")
def browser(thread):
    playwright = thread.submit(lambda: sync_playwright().start()).result()
    chromium = thread.submit(playwright.chromium.launch, executable_path=chromium_path(), args=CHROMIUM_ARGS).result()
    yield chromium
    thread.submit(chromium.close).result()
    thread.submit(playwright.stop).result()


@contextmanager
def opened(browser, name, theme="light", settled=False, **options):
    """The figure on its page, and the addresses that the page asked for."""
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    context.set_default_timeout(90_000)
    tab, asked = context.new_page(), []
    tab.add_init_script(f"localStorage.mode = localStorage.theme = '{theme}'")
    tab.on("request", lambda request: asked.append(request.url))
    url = f"{test_site.SITE.as_uri()}/{PAGES[name]}.html"
    if settled:
        visit(tab, url)
    else:
        tab.goto(url, wait_until="domcontentloaded")
    yield tab.locator(FIGURE), asked
    context.close()


def table(figure):
    return json.loads(figure.locator("script[type='application/json']").text_content())


def changed(figure, before):
    """The state after a move, checked to be consistent in itself and another one than before."""
    after = figure.evaluate(STATE)
    assert after["sentence"] != before["sentence"]
    assert after["curves"] != before["curves"]
    assert all(label.endswith(after["sentence"]) for label in after["labels"])
    assert after["outputs"] == after["spoken"]
    return after


def the_page_opens_as_it_was_built(browser, name):
    with opened(browser, name) as (figure, _), opened(browser, name, java_script_enabled=False) as (bare, _):
        assert figure.locator(".explorer-controls").is_visible()
        assert not bare.locator(".explorer-controls").is_visible()
        assert bare.locator("noscript").is_visible()
        assert bare.locator("svg[role=img]").count() == 2
        assert bare.locator(".explorer-sentence").text_content() == figure.evaluate(STATE)["sentence"]
        drawn = [path.get_attribute("d") for path in bare.locator("g > path").all()]
        assert drawn == figure.evaluate(STATE)["curves"]
        assert all(re.match(r"M-?\d", d) for d in drawn)


def the_keyboard_moves_every_slider(browser, name):
    with opened(browser, name) as (figure, _):
        state = figure.evaluate(STATE)
        for slider in figure.locator("input").all():
            slider.focus()
            figure.page.keyboard.press("ArrowLeft")
            state = changed(figure, state)


def the_keyboard_chooses_from_a_list(browser):
    with opened(browser, "flow") as (figure, _):
        before = figure.evaluate(STATE)
        assert "from misfit 1" in before["sentence"]
        figure.locator("select").focus()
        figure.page.keyboard.press("ArrowUp")
        assert "from the start" in changed(figure, before)["sentence"]


def both_ends_of_all_controls_are_the_ends_of_the_table(browser, name):
    with opened(browser, name) as (figure, _):
        sentences = table(figure)["sentences"]
        for key, want in (("Home", sentences[0]), ("End", sentences[-1])):
            for control in figure.locator("[data-control]").all():
                control.focus()
                figure.page.keyboard.press(key)
            assert figure.evaluate(STATE)["sentence"] == want


def a_tap_moves_a_slider(browser, name):
    with opened(browser, name, viewport=PHONE, has_touch=True, is_mobile=True, settled=True) as (figure, _):
        before, slider = figure.evaluate(STATE), figure.locator("input").first
        slider.evaluate("(slider) => slider.scrollIntoView({ block: 'center', behavior: 'instant' })")
        box = slider.bounding_box()
        assert box["height"] >= 24
        figure.page.touchscreen.tap(box["x"] + 0.95 * box["width"], box["y"] + box["height"] / 2)
        assert changed(figure, before)["outputs"][0] == table(figure)["values"][0][-1]


def a_move_is_drawn_in_50_ms(browser, name):
    with opened(browser, name, settled=True) as (figure, _):
        took = figure.evaluate(MOVES)
        assert len(took) >= 16
        assert statistics.median(took) < 50, took


def a_move_asks_for_nothing(browser, name):
    with opened(browser, name, settled=True) as (figure, asked):
        before = len(asked)
        figure.evaluate(MOVES)
        figure.page.wait_for_timeout(200)
        assert asked[before:] == []
        assert [url for url in asked if not url.startswith((test_site.SITE.as_uri(), "data:", "blob:"))] == []


def the_theme_colours_text_and_black_lines_and_no_other(browser, name):
    seen = []
    for theme in ("light", "dark"):
        with opened(browser, name, theme=theme) as (figure, _):
            text, number, grey, tinted = (
                figure.locator(query).first.evaluate(f"(element) => getComputedStyle(element).{what}")
                for query, what in (
                    (".explorer-sentence", "color"),
                    ("svg[role=img] text", "fill"),
                    (".explorer-grid", "stroke"),
                    ("g > path[style]", "stroke"),
                )
            )
            assert text == number
            assert all(
                ink.evaluate("(path) => getComputedStyle(path).stroke") == text
                for ink in figure.locator("g > .explorer-ink").all()
            )
            seen.append((text, grey, tinted))
    (text, grey, tinted), dark = seen
    assert text != dark[0]
    assert grey != dark[1]
    assert tinted == dark[2]


def nothing_sticks_out_on_a_phone(browser, name):
    with opened(browser, name, viewport=PHONE, settled=True) as (figure, _):
        assert figure.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        for part in figure.locator("svg[role=img], input, select, .explorer-sentence").all():
            box = part.bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE["width"]
        assert figure.locator("svg[role=img]").first.bounding_box()["width"] > 0.8 * PHONE["width"]


def axe_finds_nothing(browser, name):
    for theme in ("light", "dark"):
        with opened(browser, name, theme=theme, settled=True) as (figure, _):
            found = Axe().run(figure.page, context=FIGURE, options={"runOnly": AXE_RULES}).response["violations"]
            assert [(v["id"], n["html"][:120], n["failureSummary"]) for v in found for n in v["nodes"]] == []


CHECKS = [
    the_page_opens_as_it_was_built,
    the_keyboard_moves_every_slider,
    both_ends_of_all_controls_are_the_ends_of_the_table,
    a_tap_moves_a_slider,
    a_move_is_drawn_in_50_ms,
    a_move_asks_for_nothing,
    the_theme_colours_text_and_black_lines_and_no_other,
    nothing_sticks_out_on_a_phone,
    axe_finds_nothing,
]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_explorer(check, name, thread, browser):
    thread.submit(check, browser, name).result()


def test_a_list_is_chosen_from_by_keyboard(thread, browser):
    thread.submit(the_keyboard_chooses_from_a_list, browser).result()
