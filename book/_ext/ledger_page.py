"""The ``{ledger}`` directive: which check, in which chapter, stands behind each equation.

The table is read from the executed notebooks, and a gap in it is a warning, so it fails the strict build.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
HEADER = (
    "Equation",
    "Derived in",
    "Oracles",
    "Checks",
    "Largest deviation (of tolerance)",
    "Status",
)


class LedgerDirective(SphinxDirective):
    """Render ``condkl.ledger.collect`` of the folder that the book is built from."""

    def run(self) -> list[nodes.Node]:
        """Return the table, and warn about every gap."""
        from condkl.ledger import collect

        self.env.note_reread()  # it depends on every notebook there is, also on those added later
        ledger = collect(Path(self.env.srcdir))
        for gap in ledger.gaps:
            logger.warning(
                "ledger: %s", gap, location=self.get_location(), type="ledger"
            )
        return [table(HEADER, (self.cells(row) for row in ledger.rows))]

    def cells(self, row: Any) -> list[nodes.Node]:
        """Return one row's cells."""
        equation = text(row.equation)
        if number := re.match(r"\d+", row.equation):  # "9", or "9, Jacobian"
            equation = self.link("math", "eq", f"eq-{number[0]}", number[0])
            equation += nodes.Text(row.equation[number.end() :])
        chapter = self.chapter(row.chapter) if row.chapter else text("–")
        worst = (
            f"{row.largest_deviation:.1g} ({row.worst:.0%})"
            if row.checks
            else "–"
        )
        plain = [
            ", ".join(row.oracles) or "–",
            str(row.checks),
            worst,
            row.status,
        ]
        return [equation, chapter, *map(text, plain)]

    def chapter(self, docname: str) -> nodes.Node:
        """Return a link to the chapter, short enough for a phone: "chapter 2" for ``02_kl_chain_rule``."""
        number = re.match(r"0*(\d+)_", docname)
        return self.link(
            "std",
            "doc",
            f"/{docname}",
            f"chapter {number[1]}" if number else docname,
            explicit=True,
        )

    def link(
        self,
        domain: str,
        role: str,
        target: str,
        fallback: str,
        explicit: bool = False,
    ) -> nodes.Node:
        """Return a cross reference that shows ``fallback``: always, or where the book does not have the target yet."""
        reference = pending_xref(
            "",
            nodes.inline("", fallback),
            refdomain=domain,
            reftype=role,
            reftarget=target,
        )
        reference["refdoc"], reference["refexplicit"], reference["refwarn"] = (
            self.env.docname,
            explicit,
            True,
        )
        reference["from_ledger"] = True
        return nodes.paragraph("", "", reference)


def text(content: str) -> nodes.Node:
    """Return a cell's paragraph."""
    return nodes.paragraph("", content)


def table(
    header: tuple[str, ...], rows: Iterator[list[nodes.Node]]
) -> nodes.table:
    """Return a docutils table."""

    def line(cells: list[nodes.Node]) -> nodes.row:
        return nodes.row("", *(nodes.entry("", cell) for cell in cells))

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
