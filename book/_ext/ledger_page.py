"""The ``{ledger}`` directive: which check, in which chapter, stands behind each equation, and where to find them all.

The table is read from the executed notebooks, and a gap in it is a warning, so it fails the strict build.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from ledger_links import LINKS, Links, tests_of
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
HEADER = (
    "Equation, chapter",
    "Code, tests",
    "Oracles",
    "Largest deviation (of tolerance)",
    "Status (checks)",
)
Cell = nodes.Node | list[nodes.Node]  # of several paragraphs


class LedgerDirective(SphinxDirective):
    """Render ``condkl_book.ledger.collect`` of the folder that the book is built from."""

    def run(self) -> list[nodes.Node]:
        """Return the table, and warn about every gap."""
        from condkl_book.ledger import collect

        self.env.note_reread()  # it depends on every notebook there is, also on those added later
        ledger = collect(Path(self.env.srcdir))
        lost = [
            f"{row.equation}: expected its proof and code in ledger_links.py, got none. Add a line."
            for row in ledger.rows
            if row.equation not in LINKS
        ]
        for gap in [*ledger.gaps, *lost]:
            logger.warning(
                "ledger: %s", gap, location=self.get_location(), type="ledger"
            )
        return [table(HEADER, (self.cells(row) for row in ledger.rows))]

    def cells(self, row: Any) -> list[Cell]:
        """Return one row's cells."""
        at = LINKS.get(row.equation, Links(""))
        chapter = self.chapter(row.chapter) if row.chapter else text("–")
        worst = (
            f"{row.largest_deviation:.1g} ({share(row.worst)})"
            if row.checks
            else "–"
        )
        return [
            [self.equation(row.equation, at.proof), chapter],
            self.sources(at.code),
            text(", ".join(row.oracles) or "–"),
            text(worst.replace("-", "−")),
            text(f"{row.status} ({row.checks})"),
        ]

    def equation(self, name: str, proof: str) -> nodes.Element:
        """Return the link from an equation to its statement, with an anchor of its own: ``ledger-9-price``."""
        page, _, section = proof.rpartition("#")
        if number := re.fullmatch(r"\d+", name):
            cell = self.link("math", "eq", proof, number[0])
        elif page:
            cell = self.link("doc", "myst", page, name, reftargetid=section)
        elif proof:
            cell = self.link("prf", "ref", proof, name)
        else:
            cell = text(name)
        anchor = nodes.target(names=[nodes.make_id(f"ledger {name}")])
        self.state.document.note_explicit_target(anchor)
        cell.insert(0, anchor)
        return cell

    def sources(self, code: tuple[str, ...]) -> list[nodes.Node]:
        """Return the links to functions, and those to test files."""
        if not code:
            return [text("in the chapter")]
        functions = [
            self.link("py", "func", f"condkl.{name}", name.rpartition(".")[2])
            for name in code
        ]
        tests = [
            self.link("", "test", f"{file}#{test}", f"{file}.py")
            for file, test in tests_of(code).items()
        ]
        return [together(functions), together(tests)]

    def chapter(self, docname: str) -> nodes.Node:
        """Return a link to the chapter, short enough for a phone: "chapter 2" for ``02_kl_chain_rule``."""
        number = re.match(r"0*(\d+)_", docname)
        shown = f"chapter {number[1]}" if number else docname
        return self.link("std", "doc", f"/{docname}", shown)

    def link(
        self, domain: str, role: str, target: str, shown: str, **more: str
    ) -> nodes.Element:
        """Return a cross reference; only equations keep a text of their own, the number that they have in the book."""
        node = nodes.literal if domain == "py" else nodes.inline
        reference = pending_xref(
            "",
            node("", shown) if role != "test" else breakable(shown),
            refdomain=domain,
            reftype=role,
            reftarget=target,
            refdoc=self.env.docname,
            refexplicit=domain != "math",
            refwarn=True,
            **more,
        )
        reference["from_ledger"] = domain == "math"
        return nodes.paragraph("", "", reference)


def share(part: float) -> str:
    """Return a share as a percentage; what is not nothing does not read 0%."""
    return "<1%" if 0 < part < 0.005 else f"{part:.0%}"


def breakable(file: str) -> nodes.Node:
    """Return the name of a file that may go on in the next line after an underscore, but for that of "test_"."""
    shown = nodes.inline()
    for word in re.split(r"(?<=_)(?<!test_)", file):
        shown += [nodes.Text(word), nodes.raw("", "<wbr>", format="html")]
    return shown


def text(content: str) -> nodes.Node:
    """Return a cell's paragraph."""
    return nodes.paragraph("", content)


def together(links: list[nodes.Element]) -> nodes.Node:
    """Return one cell's paragraph of several links."""
    cell = nodes.paragraph()
    for link in links:
        cell += [*([nodes.Text(", ")] if cell.children else []), *link.children]
    return cell


def table(header: tuple[str, ...], rows: Iterator[list[Cell]]) -> nodes.table:
    """Return a docutils table."""

    def line(cells: list[Cell]) -> nodes.row:
        several = (c if isinstance(c, list) else [c] for c in cells)
        return nodes.row("", *(nodes.entry("", *cell) for cell in several))

    columns = [nodes.colspec(colwidth=1) for _ in header]
    head = nodes.thead("", line([text(name) for name in header]))
    body = nodes.tbody("", *map(line, rows))
    return nodes.table(
        "",
        nodes.tgroup("", *columns, head, body, cols=len(header)),
        classes=["ledger"],
    )


def forgive(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Leave the plain text where an equation of the ledger is stated nowhere yet; ``gaps`` judges that."""
    return content if node.get("from_ledger") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("ledger", LedgerDirective)
    app.connect("missing-reference", forgive)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
