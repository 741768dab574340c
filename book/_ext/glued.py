"""Each number that a cell computed for the text leads to that cell, near which the page shows the runs behind it."""

from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from myst_nb.ext.glue.roles import PasteTextRole
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.osutil import relative_uri

UNLINKED = {"status"}  # its numbers are about pages


class LinkedText(PasteTextRole):  # type: ignore[misc]
    """The role `glue:text`, as a link; `link` says where it leads."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the number in a link."""
        found, messages = super().run()
        env: BuildEnvironment = self.document.settings.env
        path, _, key = self.text.rpartition("::")
        page = env.path2doc(env.relfn2path(path, env.docname)[1]) if path else env.docname
        if messages or page in UNLINKED:
            return found, messages
        return [nodes.reference("", "", *found, classes=["glued"], page=page, key=key.split(":")[0])], messages


def name_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Give the cells of code of a notebook their anchors."""
    source = Path(app.env.doc2path(app.env.docname))
    if source.suffix == ".ipynb":
        cells = nbformat.read(source, as_version=4).cells
        for cell in code_cells(doctree):
            cell["ids"].append(f"cell-{cells[cell['cell_index']].id}")


def code_cells(doctree: nodes.document) -> list[nodes.Element]:
    """Return the cells of code that a page shows."""
    return [cell for cell in doctree.findall(nodes.Element) if cell.attributes.get("nb_element") == "cell_code"]


@cache
def anchors(env: BuildEnvironment, page: str) -> dict[str, str]:
    """Return by key the anchor of the cell that computed it, or of the next shown one where that is not shown."""
    cells = nbformat.read(env.doc2path(page), as_version=4).cells
    shown = {cell["cell_index"]: cell["ids"][-1] for cell in code_cells(env.get_doctree(page))}
    return {
        output.metadata["scrapbook"]["name"]: shown[min((k for k in shown if k >= at), default=max(shown))]
        for at, cell in enumerate(cells)
        for output in cell.get("outputs", ())
        if "scrapbook" in output.get("metadata", {})
    }


def link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Let the numbers of a page lead to their cells; within another link they stay plain."""
    for number in list(doctree.findall(lambda node: "glued" in getattr(node, "attributes", {}).get("classes", ()))):
        if within(number.parent, nodes.reference):
            number.replace_self(number.children)
            continue
        start, end = (app.builder.get_target_uri(name) for name in (page, number["page"]))
        number["refuri"] = f"{relative_uri(start, end)}#{anchors(app.env, number['page'])[number['key']]}"


def within(node: nodes.Element | None, kind: type[nodes.Element]) -> bool:
    """Whether a node, or one that it stands in, is of a kind."""
    return node is not None and (isinstance(node, kind) or within(node.parent, kind))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.setup_extension("myst_nb")
    app.add_role_to_domain("glue", "text", LinkedText(), override=True)
    app.connect("doctree-read", name_cells)
    app.connect("doctree-resolved", link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
