"""What search engines and links to a page show of it, and how long it takes to read.

The description is the page's own (`html_meta`), or its first sentences. Where `html_baseurl` has the address of the
site, there is also a map of its pages, and a page for addresses that lead nowhere.
"""

import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from condkl_book import status
from docutils import nodes
from sphinx.application import Sphinx

LONGEST = 160  # characters that search engines show
LEAST = 60  # shorter paragraphs are labels
LABEL = re.compile(r"(The q|Q)uestion\. ")  # before the first sentence of a chapter
LOST = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8" /><title>Not found</title>
<p>There is no such page. <a href="{home}">The book begins here.</a></p></html>
"""


def description(doctree: nodes.document) -> str:
    """Return what a page says of itself, or its first sentences in one line, formulas in their letters."""
    for own in doctree.findall(nodes.meta):
        if own.get("name") == "description":
            return str(own["content"])
    for paragraph in doctree.findall(nodes.paragraph):
        if len(text := LABEL.sub("", plain(paragraph.astext()), count=1)) >= LEAST:
            return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
    return ""


def plain(text: str) -> str:
    """Return text without the commands of TeX."""
    text = re.sub(r"\\given\b", "|", text)
    return " ".join(re.sub(r"\\[a-zA-Z]+|\\.|[{}$]", "", text).split())


def describe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Add the tags to a page that has text."""
    if doctree is None or not (said := description(doctree)):
        return
    title, book = plain(app.env.titles[page].astext()), app.config.html_title
    names = {
        "citation_title": book,
        "citation_author": app.config.author,
        "citation_publication_date": f"{status.released():%Y/%m/%d}",
    }
    before = context.get("metatags", "")
    if 'name="description"' not in before:
        names["description"] = said
    graph = {"og:title": f"{title} — {book}", "og:type": "article", "og:description": said}
    if app.config.html_baseurl:
        graph["og:url"] = address(app, page)
    tags = [f'<meta name="{name}" content="{escape(text)}" />' for name, text in names.items()]
    tags += [f'<meta property="{name}" content="{escape(text)}" />' for name, text in graph.items()]
    context["metatags"] = "\n".join([before, *tags])


def address(app: Sphinx, page: str) -> str:
    """Return the full address of a page."""
    return f"{app.config.html_baseurl.rstrip('/')}/{app.builder.get_target_uri(page)}"


def time(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Say below the title of a chapter how long it takes to read."""
    if "body" in context and (said := reading_times().get(f"read-{page}")):
        context["body"] = context["body"].replace("</h1>", f'</h1>\n<p class="reading-time">{said} to read</p>', 1)


@cache
def reading_times() -> dict[str, str]:
    """Return how long chapters take to read, as the front page says it."""
    return status.durations()


def publish(app: Sphinx, exception: Exception | None) -> None:
    """Write what only a site with an address has."""
    if exception is None and app.builder.format == "html" and (home := app.config.html_baseurl):
        pages = [f"<url><loc>{escape(address(app, page))}</loc></url>" for page in sorted(app.env.found_docs)]
        listed = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{"".join(pages)}</urlset>'
        Path(app.outdir, "sitemap.xml").write_text(listed, "utf-8")
        Path(app.outdir, "404.html").write_text(LOST.format(home=escape(home)), "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-page-context", describe)
    app.connect("html-page-context", time)
    app.connect("build-finished", publish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
