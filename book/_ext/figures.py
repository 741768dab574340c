"""The figures of the notebooks as pages show them: with the look of the page's theme, and their numbers to take away.

A figure of matplotlib's has both looks in one file; the page takes the one or the other. Below it is a link to its
numbers, unless the notebook itself shows where they come from.
"""

import re
from html import escape
from itertools import takewhile
from pathlib import Path
from typing import Any

import nbformat
from condkl_book.captions import csv_link
from condkl_book.figure_data import MIME
from condkl_book.looks import FRAGMENT, two_looks
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

from glued import code_cells

SOURCE = '<div class="source">'  # what `condkl_book.captions` writes
DRAWN = re.compile(r"[0-9a-f]{64}\.svg$")  # the name of a notebook's picture
SIZE = re.compile(r'<svg [^>]*?width="([\d.]+)pt" height="([\d.]+)pt"')


def looks(app: Sphinx, page: str, image: nodes.image) -> str:
    """Return a picture in HTML, light and dark, of which the theme shows one; its size keeps its place free."""
    name = app.env.images[image["uri"]][1]
    app.figures[name] = Path(app.srcdir, image["uri"])  # type: ignore[attr-defined]
    found = SIZE.search(app.figures[name].read_text("utf-8"))  # type: ignore[attr-defined]
    width, height = (round(float(points) * 4 / 3) for points in found.groups()) if found else ("", "")
    src, alt = relative_uri(app.builder.get_target_uri(page), f"_images/{name}"), escape(image.get("alt", ""))
    both = {"only-light": src, "only-dark": f"{src}#{FRAGMENT}"}
    same = f'width="{width}" height="{height}" alt="{alt}"'
    return "".join(f'<img class="{look}" src="{src}" {same} />' for look, src in both.items())


def shows_source(cells: list[Any], at: int, of: int) -> bool:
    """Whether a notebook shows where the numbers of an output come from: before the next picture, and in the next cell."""
    after = [output.get("data", {}) for cell in cells[at : at + 2] for output in cell.get("outputs", [])][of + 1 :]
    before = takewhile(lambda data: "image/svg+xml" not in data, after)
    return any(SOURCE in data.get("text/html", "") for data in before)


def finish(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Give the figures of a page their second look, and the link to their numbers."""
    source = Path(app.env.doc2path(page))
    if app.builder.format != "html" or source.suffix != ".ipynb":
        return
    cells = nbformat.read(source, as_version=4).cells
    for cell in code_cells(doctree):
        at = int(cell["cell_index"])
        pictures = [node for node in cell.findall(nodes.image) if DRAWN.search(node["uri"])]
        outputs = [k for k, one in enumerate(cells[at].outputs) if "image/svg+xml" in one.get("data", {})]
        for image, k in zip(pictures, outputs, strict=True):
            figure = image.parent if isinstance(image.parent, nodes.figure) else image
            if (csv := cells[at].outputs[k].data.get(MIME)) and not shows_source(cells, at, k):
                name = (*figure.get("ids", []), f"{Path(page).name}-{cells[at].id}")[0]
                below = f"{SOURCE}<p>{csv_link(name, csv, 'Data of this figure (CSV)')}</p></div>"
                put_after(figure, nodes.raw("", below, format="html"))
            box = f'<div class="picture">{looks(app, page, image)}</div>'  # it scrolls on phones
            image.replace_self(nodes.raw("", box, format="html"))


def put_after(node: nodes.Element, new: nodes.Node) -> None:
    """Put a node behind another one."""
    node.parent.insert(node.parent.index(node) + 1, new)


def lead(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Let the links to the runs, which a notebook writes without knowing its folder, start from the page's."""
    if "body" in context and app.builder.format == "html":
        context["body"] = context["body"].replace('href="runs.html#', f'href="{context["pathto"]("runs")}#')


def draw(app: Sphinx, exception: Exception | None) -> None:
    """Write the files of the figures, with both looks."""
    for name, source in app.figures.items() if exception is None else ():  # type: ignore[attr-defined]
        file = Path(app.outdir, "_images", name)
        file.parent.mkdir(exist_ok=True)
        file.write_text(two_looks(source.read_text("utf-8")), "utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.figures = {}  # type: ignore[attr-defined]
    app.connect("doctree-resolved", finish)
    app.connect("html-page-context", lead)
    app.connect("build-finished", draw)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
