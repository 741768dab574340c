"""The ``{gallery}`` directive: every figure of the book, small, with its caption and a link to its place."""

from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import explorers
from explorers import explorer
from figures import DRAWN, looks


class gallery(nodes.Element):  # noqa: N801  (Sphinx names visitors after it)
    """Where the figures will stand, once all pages are read."""


class GalleryDirective(SphinxDirective):
    """A placeholder of the figures of all pages."""

    def run(self) -> list[nodes.Node]:
        """Return the placeholder."""
        return [gallery()]


def fill(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Put the figures of all pages, in the order of the book, in place of the placeholder."""
    for place in list(doctree.findall(gallery)):
        pages = [name for name in in_order(app, app.config.root_doc) if name != page]
        place.replace_self([part for name in pages for part in of_page(app, page, name)])
        app.env.get_domain("math").data["has_equations"][page] = True  # in captions that it had not read


def in_order(app: Sphinx, page: str) -> list[str]:
    """Return a page and those below it, as the table of contents has them."""
    below = app.env.toctree_includes.get(page, [])
    return [page, *(name for one in below for name in in_order(app, one))]


def of_page(app: Sphinx, here: str, page: str) -> list[nodes.Node]:
    """Return the figures of a page below its title; nothing if it has none."""
    figures = [node for node in app.env.get_doctree(page).findall(nodes.figure) if node["ids"]]
    cards = [
        part for node in figures if (shown := small(app, here, node)) for part in card(app, here, page, node, shown)
    ]
    title = nodes.inline("", "", *read(app, app.env.titles[page]))
    return [raw("<h2>"), title, raw('</h2><div class="gallery">'), *cards, raw("</div>")] if cards else []


def small(app: Sphinx, here: str, figure: nodes.figure) -> str:
    """Return the picture of a figure in HTML: with both looks, or the first panel of an interactive one."""
    if isinstance(figure, explorer):
        name = figure["explorer"]
        page = explorers.page(name, explorers.made(name), app.builder.imagedir)
        return f'<div class="explorer-panels">{page[page.index("<svg") : page.index("</svg>")]}</svg></div>'
    drawn = (image for image in figure.findall(nodes.image) if DRAWN.search(image["uri"]))
    return next((looks(app, here, image) for image in drawn), "")


def card(app: Sphinx, here: str, page: str, figure: nodes.figure, picture: str) -> list[nodes.Node]:
    """Return a figure with its caption; the picture leads to its place."""
    anchor = figure["ids"][0]
    target = f"{app.builder.get_relative_uri(here, page)}#{anchor}"
    number = ".".join(map(str, app.env.toc_fignumbers.get(page, {}).get("figure", {}).get(anchor, ())))
    kind = "explorer" if isinstance(figure, explorer) else "drawn"
    head = f'<figure class="{kind}"><a href="{target}">{picture}</a><figcaption>Fig. {number}. '
    caption = [part for node in figure.findall(nodes.caption) for part in read(app, node)]
    return [raw(head), nodes.inline("", "", *caption), raw("</figcaption></figure>")]


def read(app: Sphinx, node: nodes.Element) -> list[nodes.Node]:
    """Return the text of a node of another page, with formulas and with the numbers of equations, without links."""
    equations, found = app.env.get_domain("math").equations, []  # type: ignore[attr-defined]
    for child in node.children:
        if isinstance(child, pending_xref) and child["reftarget"] in equations:
            place, anchor = equations[child["reftarget"]][0], nodes.make_id(f"equation-{child['reftarget']}")
            number = app.env.toc_fignumbers.get(place, {}).get("displaymath", {}).get(anchor, ())
            found.append(nodes.Text(f"({'.'.join(map(str, number))})"))
        elif isinstance(child, nodes.math | nodes.Text):
            found.append(child.deepcopy())
        else:
            found += read(app, child)  # type: ignore[arg-type]
    return found


def raw(html: str) -> nodes.raw:
    """Return a node of HTML."""
    return nodes.raw("", html, format="html")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_node(gallery)
    app.add_directive("gallery", GalleryDirective)
    app.connect("doctree-resolved", fill)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
