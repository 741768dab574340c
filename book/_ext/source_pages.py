"""Pages with the highlighted source of the tests that the ledger names, beside those that viewcode makes of the library.

A link to one is a ``pending_xref`` of type ``test`` whose target is "file#test", both without suffix.
"""

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from docutils import nodes
from ledger_links import LINKS, TESTS, tests_of
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

FOLDER = "_tests"
DEFINED = re.compile(r'<span class="nf">(test_\w+)</span>')


def linked() -> list[str]:
    """Return the test files, without suffix, that some line of the ledger leads to."""
    return sorted({file for at in LINKS.values() for file in tests_of(at.code)})


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each of them, each test with its name as anchor."""
    if app.builder.format != "html":
        return
    for file in linked():
        page = f"{FOLDER}/{file}"
        source = (TESTS / f"{file}.py").read_text("utf-8")
        shown = app.builder.highlighter.highlight_block(source, "python")
        shown = DEFINED.sub(r'<span class="nf" id="\1">\1</span>', shown)
        back = app.builder.get_relative_uri(page, "ledger")
        name = escape(f"tests/{file}.py")
        yield (
            page,
            {
                "title": name,
                "parents": [],
                "body": f"<h1>{name}</h1>\n<p>A test of the library, run by <code>make test</code>. "
                f'<a href="{back}">The ledger</a> says which equations it stands behind.</p>\n{shown}',
            },
            "page.html",
        )


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Return the link to a test; its plain text where there are no such pages."""
    if node.get("reftype") != "test":
        return None
    if app.builder.format != "html":
        return content
    file, _, test = node["reftarget"].partition("#")
    page = app.builder.get_relative_uri(node["refdoc"], f"{FOLDER}/{file}")
    return nodes.reference(
        "", "", content, internal=True, refuri=f"{page}#{test}"
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("html-collect-pages", pages)
    app.connect("missing-reference", resolve)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
