"""What the checks of the built site share: where it lies, what is written on its pages, and how one is opened."""

import functools
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).parents[2] / "book" / "_build" / "html"
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html") if "_static" not in p.parts)
# Made by Sphinx, not in the table of contents: the search, and sources.
EXTRA = {page for page in PAGES if page == "search.html" or page.startswith(("_modules/", "_tests/"))}


def sample(pages, many=4):
    """Return all pages, but of the listings of source files, which one template makes, the largest few."""
    listings = sorted(EXTRA - {"search.html"}, key=lambda page: (SITE / page).stat().st_size)
    return [page for page in pages if page not in listings[:-many]]


CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, TABLET, PHONE = {"width": 1440, "height": 900}, {"width": 768, "height": 1024}, {"width": 375, "height": 740}
LOCAL = ("data:", "blob:")


class Markup(HTMLParser):
    """The ids, links, images and downloads of a page, and the pages before and after it."""

    def __init__(self, page):
        super().__init__()
        self.ids, self.links, self.images, self.downloads, self.walk = set(), set(), set(), {}, {}
        self.has_code_cells = False
        self.feed((SITE / page).read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        classes, link = (values.get("class") or "").split(), values.get("href")
        self.ids |= {values[key] for key in ("id", "name") if values.get(key)}
        self.has_code_cells |= "cell_input" in classes
        if tag == "img" and values.get("src"):
            self.images.add(values["src"])
        if tag != "a" or not link:
            return
        self.links.add(link)
        if values.get("download"):
            self.downloads[values["download"]] = link
        self.walk |= {way: link for way in ("left-prev", "right-next") if way in classes}


markup = functools.cache(Markup)


def resolve(page, link):
    """Return the file and the anchor that a link within the site leads to."""
    parts = urlsplit(link)
    path = os.path.normpath(Path(page).parent / unquote(parts.path)) if parts.path else page
    return path, unquote(parts.fragment)


def chromium_path():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert path, "no chromium was found: run `make apt-chromium`, or set CHROMIUM to its path"
    return path


def window(browser, **options):
    """Return a window of its own; on a busy machine a page may take long."""
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    context.set_default_timeout(90_000)
    return context


def visit(tab, url):
    """Open a page and wait until MathJax has set all of it, as for a printer."""
    tab.goto(url, wait_until="load")
    if tab.locator(".math").count():
        tab.wait_for_function("window.MathJax && MathJax.startup && MathJax.startup.promise")
        tab.evaluate("MathJax.startup.promise.then(setAll)")
