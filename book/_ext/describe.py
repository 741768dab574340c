"""What search engines and links to a page show of it: a description, from its first paragraph, and how to cite the book."""

import re
from html import escape
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

LONGEST = 160  # characters that search engines show
LEAST = 60  # shorter paragraphs are labels


def description(doctree: nodes.document) -> str:
    """Return the first sentences of a page in one line, formulas in their letters."""
    for paragraph in doctree.findall(nodes.paragraph):
        if len(text := plain(paragraph.astext())) >= LEAST:
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
    names = {"description": said, "citation_title": book, "citation_author": app.config.author}
    tags = [f'<meta name="{name}" content="{escape(text)}" />' for name, text in names.items()]
    graph = {"og:title": f"{title} — {book}", "og:type": "article", "og:description": said}
    tags += [f'<meta property="{name}" content="{escape(text)}" />' for name, text in graph.items()]
    context["metatags"] = "\n".join([context.get("metatags", ""), *tags])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-page-context", describe)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
