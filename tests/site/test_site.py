"""The built site in a browser, over http and as files: run by ``make site-test``."""

import functools
import http.server
import os
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

pytestmark = pytest.mark.site

SITE = Path(__file__).parents[2] / "book" / "_build" / "html"
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html") if "_static" not in p.parts)
# Made by Sphinx, not in the table of contents: the search, and sources.
EXTRA = {page for page in PAGES if page == "search.html" or page.startswith(("_modules/", "_tests/"))}
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 740}
FACTS = r"""() => {
  const article = document.querySelector("article, main"), all = (q) => [...document.querySelectorAll(q)];
  const prose = article.cloneNode(true);
  prose.querySelectorAll("pre").forEach((e) => e.remove()); // code may hold patterns and formats
  const name = (e) => (e.id || e.textContent.trim() || e.outerHTML).slice(0, 80);
  return {
    title: document.title,
    lang: document.documentElement.lang,
    bare_math: all(".math").filter((e) => !e.querySelector("mjx-container")).map(name),
    // MathJax sets an unknown macro in red instead of failing.
    math_errors: all("mjx-merror, [data-mjx-error], mjx-container [style*='color: red']").map(name),
    raw_tex: (prose.textContent.match(/\\[(\[].{0,60}|\\(?:begin|label)\{.{0,40}/g) || []),
    missing_fonts: [...document.fonts].filter((f) => f.status === "error").map((f) => f.family),
    broken_images: [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src),
    images_without_alt: [...document.images].filter((i) => !i.alt.trim() || /^_images|\.png$/.test(i.alt))
      .map((i) => i.src),
    stderr_blocks: all(".stderr, .output.traceback").map(name),
    progress_bars: (article.innerText.match(/\d+%\|.{0,40}/g) || []),
  };
}"""


class Anchors(HTMLParser):
    """The ids and the links of a page."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links = set(), set()
        self.feed((SITE / page).read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag == "a" and values.get("href"):
            self.links.add(values["href"])


anchors = functools.cache(Anchors)


def resolve(page, link):
    """Return the page and the anchor that a link within the site leads to."""
    parts = urlsplit(link)
    path = os.path.normpath(Path(page).parent / unquote(parts.path)) if parts.path else page
    return path, unquote(parts.fragment)


def equation_pages(number):
    return [page for page in PAGES if f"equation-eq-{number}" in anchors(page).ids]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def bases():
    handler = functools.partial(QuietHandler, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"http": f"http://127.0.0.1:{server.server_port}", "file": SITE.as_uri()}
        server.shutdown()


def chromium_path():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert path, "no chromium was found: run `make apt-chromium`, or set CHROMIUM to its path"
    return path


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGS)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser):
    context = browser.new_context(viewport=DESKTOP)
    yield context.new_page()
    context.close()


def visit(tab, url):
    """Open a page and wait until MathJax has set it."""
    tab.goto(url, wait_until="load")
    if tab.locator(".math").count():
        tab.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        tab.evaluate("MathJax.startup.promise.then(() => document.fonts.ready).then(() => 1)")


@pytest.fixture(scope="module", params=[(mode, page) for page in PAGES for mode in ("http", "file")], ids="-".join)
def facts(request, browser, bases):
    """Load a page once, on a desktop and then on a phone, and write down what happened."""
    mode, page = request.param
    context = browser.new_context(viewport=DESKTOP)
    tab, seen = context.new_page(), {"outside": [], "console": [], "failed": []}
    tab.on("request", lambda r: r.url.startswith((bases[mode], "data:", "blob:")) or seen["outside"].append(r.url))
    tab.on("console", lambda m: m.type in ("error", "warning") and seen["console"].append(m.text))
    tab.on("pageerror", lambda e: seen["console"].append(str(e)))
    tab.on("requestfailed", lambda r: seen["failed"].append(r.url))
    tab.on("response", lambda r: r.status >= 400 and seen["failed"].append(f"{r.status} {r.url}"))
    visit(tab, f"{bases[mode]}/{page}")
    seen |= tab.evaluate(FACTS)
    tab.set_viewport_size(PHONE)
    seen["phone_overflow"] = tab.evaluate("document.documentElement.scrollWidth - innerWidth")
    seen["too_wide"] = tab.evaluate(
        "[...document.querySelectorAll('article *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1)"
        ".slice(0, 5).map((e) => e.outerHTML.slice(0, 120))"
    )
    context.close()
    return seen


def test_the_site_is_built():
    assert (SITE / "index.html").exists(), f"there is no site at {SITE}: run `make book`"
    assert len(PAGES) > len(EXTRA)


@pytest.mark.parametrize(
    "problem",
    [
        "outside",
        "console",
        "failed",
        "bare_math",
        "math_errors",
        "raw_tex",
        "missing_fonts",
        "broken_images",
        "images_without_alt",
        "stderr_blocks",
        "progress_bars",
    ],
)
def test_page_has_no(problem, facts):
    assert facts[problem] == []


def test_page_has_a_title_and_a_language(facts):
    assert facts["title"].strip(" —-")
    assert facts["lang"] == "en"


def test_page_fits_a_phone(facts):
    assert facts["phone_overflow"] <= 0, facts["too_wide"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    broken = []
    for link in anchors(page).links:
        if urlsplit(link).scheme:
            continue
        path, anchor = resolve(page, link)
        known = (SITE / path).is_file() and (not anchor or not path.endswith(".html") or anchor in anchors(path).ids)
        if not known:
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_accessibility(page, theme, tab, bases):
    tab.add_init_script(f"localStorage.mode = localStorage.theme = '{theme}'")
    visit(tab, f"{bases['http']}/{page}")
    assert tab.evaluate("document.documentElement.dataset.theme") == theme
    found = Axe().run(tab, options={"runOnly": AXE_RULES}).response["violations"]
    assert [(v["id"], n["html"][:120], n["failureSummary"]) for v in found for n in v["nodes"]] == []


@pytest.mark.parametrize("number", range(1, 10))
def test_equation_has_the_number_of_the_source(number, tab, bases):
    pages = equation_pages(number)
    assert len(pages) == 1, f"label eq-{number} stands on {pages or 'no page'}"
    visit(tab, f"{bases['http']}/{pages[0]}")
    shown = tab.evaluate(
        "(id) => { let e = document.getElementById(id); while (e && !e.matches('.math')) e = e.nextElementSibling;"
        "return e && e.querySelector('.eqno').textContent; }",
        f"equation-eq-{number}",
    )
    assert re.match(r"\(\d+\)", shown)[0] == f"({number})"


@pytest.mark.parametrize("mode", ["http", "file"])
def test_next_and_previous_walk_the_whole_book(mode, tab, bases):
    tab.goto(f"{bases[mode]}/index.html")
    walked = ["index.html"]
    while tab.locator("a.right-next").count():
        tab.click("a.right-next")
        tab.wait_for_load_state()
        walked.append(tab.url.removeprefix(f"{bases[mode]}/"))
    assert sorted(walked) == sorted(set(PAGES) - EXTRA)
    tab.click("a.left-prev")
    tab.wait_for_url(f"**/{walked[-2]}")


@pytest.mark.parametrize("mode", ["http", "file"])
def test_a_reference_leads_to_an_equation_on_another_page(mode, tab, bases):
    crossings = (
        (page, link)
        for page in PAGES
        for link in sorted(anchors(page).links)
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


@pytest.mark.parametrize("mode", ["http", "file"])
def test_search_finds_a_word(mode, tab, bases):
    tab.goto(f"{bases[mode]}/search.html?q=kurtosis")
    tab.wait_for_selector("#search-results ul.search li a", timeout=10_000)
    assert tab.locator("#search-results ul.search li a").count() >= 1


@pytest.mark.parametrize("mode", ["http", "file"])
def test_dark_mode_can_be_switched(mode, tab, bases):
    tab.goto(f"{bases[mode]}/index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    seen = {}
    for _ in range(3):
        tab.locator("button.theme-switch-button:visible").first.click()
        seen[tab.evaluate("document.documentElement.dataset.theme")] = tab.evaluate(background)
    assert set(seen) == {"light", "dark"}
    assert seen["light"] != seen["dark"]


FOLDS = re.compile(r'"[^"]*dropdown admonition|<details(?!><summary><span class="toctree)')  # not those of the sidebar
FOLDED = [page for page in PAGES if FOLDS.search((SITE / page).read_text("utf-8"))]


@pytest.mark.parametrize("page", FOLDED)
def test_folded_parts_open(page, tab, bases):
    visit(tab, f"{bases['http']}/{page}")
    for button in tab.locator("article .toggle > .admonition-title button.toggle-button").all():
        button.click()
    for summary in tab.locator("article details > summary").all():
        summary.click()
    assert tab.locator("article .toggle-hidden, article details:not([open])").count() == 0
