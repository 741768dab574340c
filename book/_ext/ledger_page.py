"""The ``{ledger}`` directive: which check, in which chapter, stands behind each equation, and where to find them all.

``{checks}`` shows those of a few statements, folded, where a chapter makes them. The table of the ledger is read from the
executed notebooks, and a gap in it is a warning, so it fails the strict build. The tests that
it names have pages with their highlighted source, beside those that viewcode makes of the library.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from condkl_book.ledger import Check, LedgerRow, code_of, collect, made_in, notebooks
from condkl_book.origins import Names, Origin, oracles, origins
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from ledger_links import GIVEN, LINKS, TESTS, links, tests_of

logger = logging.getLogger(__name__)
HEADER = ("Equation, chapter", "Code, tests", "Oracles", "Largest deviation (of tolerance)", "Status (checks)")
TABLE = "```{list-table}\n:header-rows: 1\n:class: ledger\n"
FOLDER = "_tests"
DEFINED = re.compile(r'<span class="nf">(test_\w+)</span>')


class LedgerDirective(SphinxDirective):
    """Render ``condkl_book.ledger.collect`` of the folder that the book is built from."""

    def run(self) -> list[nodes.Node]:
        """Return the table, and warn about every gap."""
        ledger = collect(Path(self.env.srcdir))
        known = [row for row in ledger.rows if row.equation in LINKS]
        lost = "{}: expected its proof and code in ledger_links.py, got none. Add a line."
        for gap in [*ledger.gaps, *(lost.format(row.equation) for row in ledger.rows if row not in known)]:
            logger.warning("ledger: %s", gap, location=self.get_location(), type="ledger")
        found = [one for path in notebooks(Path(self.env.srcdir)) for one in origins(code_of(path))]
        shown = (cells(row, calls(row.equation, found)) for row in known)
        rows = ("\n  - ".join(row) for row in (HEADER, *shown))
        return self.parse_text_to_nodes("\n* - ".join([TABLE, *rows]) + "\n```")


class ChecksDirective(SphinxDirective):
    """Render ``12 checks passed``, which opens: every check of the statements named, one in a line."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return what opens, and warn about a statement that nothing checks."""
        names = [name.strip() for name in self.content if name.strip()]
        found = executed(Path(self.env.srcdir))
        made = [one for path in found for one in found[path]]
        for name in names:
            if name not in {one.eq for one in made}:
                logger.warning("checks: nothing checks %r", name, location=self.get_location(), type="ledger")
        shown = [one for one in made if one.eq in names]
        companion = Path(self.env.srcdir, "checks", Path(self.env.docname).name + ".ipynb")
        return self.parse_text_to_nodes(folded(shown, companion.stem if companion in found else None))


@cache
def executed(folder: Path) -> dict[Path, list[Check]]:
    """Return the checks of each notebook of the book; they are read once a build, not once a line of a chapter."""
    return {path: made_in(path) for path in notebooks(folder)}


def folded(made: list[Check], companion: str | None) -> str:
    """Return the checks in Markdown, behind one line; their code is in the chapter, or in its companion."""
    lines = [f"* {one.eq}, against {one.oracle}: off by {one.deviation:.1g}, allowed {one.tol:.1g}" for one in made]
    code = f"The code is in [the companion notebook](/checks/{companion}.ipynb). " if companion else ""
    word = "check" if len(made) == 1 else "checks"
    head = f"```{{dropdown}} {len(made)} {word} passed\n:class-container: checks\n"
    return "\n".join([head, *lines, "", f"{code}All checks are in [the ledger](/ledger.md).", "```"])


def calls(line: str, found: Iterable[Origin]) -> dict[str, Names]:
    """Return for each oracle of a line which functions of the library its side of the checks calls."""
    return oracles((one for one in found if one.eq == line), links(line)[1], GIVEN)


def cells(row: LedgerRow, called: Mapping[str, Names]) -> tuple[str, ...]:
    """Return one row's cells in Markdown; the first has an anchor, ``ledger-9-price``."""
    label, code = links(row.equation)
    functions = ", ".join(map(function, code))
    anchor = f"[]{{#{nodes.make_id(f'ledger {row.equation}')}}}"
    worst = f"{row.largest_deviation:.1g} ({share(row.worst)})".replace("-", "−") if row.checks else "–"
    return (
        f"{anchor}{statement(row, label)}\\\n    {chapter(row.chapter)}",
        f"{functions}\\\n    {tests(code)}" if code else "in the chapter",
        "; ".join(named(oracle, called.get(oracle, ())) for oracle in row.oracles) or "–",
        worst,
        f"{row.status} ({row.checks})",
    )


def named(oracle: str, functions: Collection[str]) -> str:
    """Return an oracle with what it calls of the library."""
    return f"{oracle} (calls {', '.join(f'`{name}`' for name in sorted(functions))})" if functions else oracle


def statement(row: LedgerRow, label: str) -> str:
    """Return the link to what a row is about; its plain number while no chapter states it."""
    page, _, section = label.rpartition("#")
    if page:
        return f"[{row.equation}]({page}.ipynb#{section})"
    if not row.equation.isdigit():
        return f"{{prf:ref}}`{row.equation} <{label}>`"
    return f"{{eq}}`{label}`" if row.chapter else f"({row.equation})"


def chapter(page: str | None) -> str:
    """Return a link to a chapter, short enough for a phone: "chapter 1" for ``01_hierarchies``."""
    if page is None:
        return "–"
    shown = re.sub(r"^0*(\d+)_.*", r"chapter \1", page)
    return f"[{shown}]({page}.ipynb)"


def function(name: str) -> str:
    """Return the link to a function or a class."""
    shown = name.rpartition(".")[2]
    return f"{{py:{'class' if shown[0].isupper() else 'func'}}}`{shown} <.{name}>`"


def tests(code: list[str]) -> str:
    """Return the links to test files, whose names may go on in the next line after an underscore."""
    found = tests_of(code).items()
    shown = (re.sub(r"_(?<!test_)", "_<wbr>", Path(file).name) for file, _ in found)
    return ", ".join(f'<a href="{page(file)}.html#{test}">{name}</a>' for (file, test), name in zip(found, shown))


def share(part: float) -> str:
    """Return a share as a percentage; what is not nothing does not read 0%."""
    return "<1%" if 0 < part < 0.005 else f"{part:.0%}"


def page(file: str) -> str:
    """Return the page of a test file."""
    return f"{FOLDER}/{file.removesuffix('.py')}"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield a page for each test file that some line of the ledger leads to, each test with its name as anchor."""
    for file in sorted({file for line in LINKS for file in tests_of(links(line)[1])}):
        shown = app.builder.highlighter.highlight_block((TESTS / file).read_text("utf-8"), "python")
        shown = DEFINED.sub(r'<span class="nf" id="\1">\1</span>', shown)
        back, title = app.builder.get_relative_uri(page(file), "ledger"), escape(f"tests/{file}")
        said = f'A test of the library. <a href="{back}">The ledger</a> says which equations it stands behind.'
        yield page(file), {"title": title, "parents": [], "body": f"<h1>{title}</h1><p>{said}</p>{shown}"}, "page.html"


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("ledger", LedgerDirective)
    app.add_directive("checks", ChecksDirective)
    app.connect("html-collect-pages", pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
