"""The notebook that a page offers: references, citations and numbers written out, to run wherever the library is.

The text is written from what Sphinx has resolved; the code is the chapter's own, without its outputs.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from sphinx.application import Sphinx

UNSEEN = {"target", "comment", "raw", "index", "substitution_definition", "toctree", "colspec", "image"}
MARKS = {nodes.math: ("$", "$"), nodes.literal: ("`", "`"), nodes.emphasis: ("*", "*"), nodes.strong: ("**", "**")}
HIDDEN = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
FOLDS = {"dropdown_main", "solution_node"}  # sphinx-design's and sphinx-exercise's, whose first child is the title
TAG = r" \tag{%s}"
INSTALL = """\
# This notebook needs the library of its book. The numbers in its text are those of the book's own run.
from importlib.util import find_spec

if not find_spec("condkl_book"):
    {cure}"""
CLONED = 'raise ModuleNotFoundError("In a clone of the book\'s repository, run: pip install -e .[book]")'
# A clone has the data beside the library; what is installed is what the library needs.
FETCHED = """\
import sys
    !git clone --quiet --depth 1 {repository} condkl
    %pip install --quiet "./condkl[book]"
    sys.path.insert(0, "condkl/src")"""


class Writer:
    """Markdown of the resolved text of one page; `numbers` are those of its formulas, propositions and figures."""

    def __init__(self, numbers: dict[str, dict[str, tuple[int, ...]]], notebooks: set[str]) -> None:
        self.numbers, self.notebooks = numbers, notebooks

    def inline(self, node: nodes.Node) -> str:
        """The node in a line of text."""
        if node.tagname in UNSEEN:  # type: ignore[attr-defined]
            return ""
        if isinstance(node, nodes.Text | nodes.math | nodes.literal):
            return node.astext().join(MARKS.get(type(node), ("", "")))
        text = "".join(map(self.inline, node.children))
        return (
            self.link(node, text) if isinstance(node, nodes.reference) else text.join(MARKS.get(type(node), ("", "")))
        )

    def link(self, node: nodes.reference, text: str) -> str:
        """A link to another host or to another chapter's notebook; of others, and of numbers, only the text."""
        target = node.get("refuri", "")
        name = target.partition("#")[0].removesuffix(".html")
        if re.match(r"\w+:", target):
            return f"[{text}]({target})"
        return f"[{text}]({name}.ipynb)" if name in self.notebooks and "glued" not in node["classes"] else text

    def number(self, kind: str, node: nodes.Element) -> str:
        """The number of a formula or a proposition; nothing if it has none."""
        found = (self.numbers.get(kind, {}).get(name, ()) for name in node.get("ids", ()))
        return next((".".join(map(str, number)) for number in found if number), "")

    def figure(self, node: nodes.Element) -> str:
        """What a figure is called; one that is interactive is not in the notebook."""
        place = "On the site, figure" if node.tagname == "explorer" else "Figure"
        return f"{place} {self.number('figure', node)}".strip()

    def block(self, node: nodes.Element, depth: int = 1) -> str:  # noqa: PLR0911, PLR0912  (a line for each kind)
        """The node as paragraphs of Markdown."""
        if node.tagname in UNSEEN:
            return ""
        if isinstance(node, nodes.Text | nodes.Inline):
            return self.inline(node)
        if "realtype" in node:
            kind = f"{node['realtype'].title()} {self.number(node['countertype'], node)}".strip()
            return quoted(f"**{kind}{self.inline(node[0])}.** {self.blocks(node[1:], depth)}")
        if node.tagname in FOLDS:
            title, rest = self.inline(node[0]), self.blocks(node[1:], depth)
            return f"<details><summary>{title.strip()}</summary>\n\n{rest}\n\n</details>"
        if node.get("design_component") == "card-title":
            return f"**{self.inline(node).strip()}.**"
        match node:
            case nodes.title() if isinstance(node.parent, nodes.section):
                return f"{'#' * depth} {self.inline(node)}"
            case nodes.title() | nodes.rubric():
                return f"**{self.inline(node).strip()}.**"
            case nodes.caption():
                return f"**{self.figure(node.parent)}.** {self.inline(node)}"
            case nodes.paragraph():
                return self.inline(node)
            case nodes.math_block():
                number = self.number("displaymath", node)
                return f"$$\n{node.astext().strip()}{number and TAG % number}\n$$"
            case nodes.literal_block():
                return f"```{node.get('language', '').replace('ipython3', 'python')}\n{node.astext()}\n```"
            case nodes.bullet_list() | nodes.enumerated_list():
                return self.items(node, depth)
            case nodes.block_quote():
                return quoted(self.blocks(node.children, depth))
            case nodes.table():
                return self.table(node)
        return self.blocks(node.children, depth + isinstance(node, nodes.section))

    def blocks(self, children: list[nodes.Node], depth: int) -> str:
        """Paragraphs, apart by empty lines."""
        return "\n\n".join(filter(None, (self.block(child, depth) for child in children)))  # type: ignore[arg-type]

    def items(self, node: nodes.Element, depth: int) -> str:
        """A list; what belongs to an item is indented below it."""
        mark = "1. " if isinstance(node, nodes.enumerated_list) else "- "
        texts = (self.blocks(item.children, depth).replace("\n", "\n" + " " * len(mark)) for item in node.children)
        return "\n".join(mark + text for text in texts)

    def table(self, node: nodes.table) -> str:
        """A table, a line for each row."""
        rows = [[self.cell(cell) for cell in row.children] for row in node.findall(nodes.row)]
        rows.insert(1, ["---"] * len(rows[0]))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def cell(self, node: nodes.Element) -> str:
        """What stands in a cell of a table, in one line."""
        return self.blocks(node.children, 1).replace("\n\n", "<br>").replace("\n", " ").replace("|", "\\|")

    def parts(self, node: nodes.Element, depth: int = 0) -> Iterator[str | int]:
        """The text of a page, and where its cells of code stand in it, by their indices in the notebook."""
        for child in node.children:
            if isinstance(child, nodes.section):
                yield from self.parts(child, depth + 1)
            elif getattr(child, "attributes", {}).get("nb_element") == "cell_code":
                yield int(child["cell_index"])  # type: ignore[index]
                yield from map(self.block, child.findall(nodes.caption))  # type: ignore[attr-defined]
            elif text := self.block(child, depth):  # type: ignore[arg-type]
                yield text


def quoted(text: str) -> str:
    """Text in a block of its own, each formula in a line: JupyterLab takes the marks of further ones for signs."""
    text = re.sub(r"\$\$\n(.*?)\n\$\$", lambda found: f"$$ {' '.join(found[1].split())} $$", text, flags=re.DOTALL)
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def plain(notebook: Any, parts: list[str | int], macros: dict[str, str], install: str) -> Any:
    """A notebook of those parts, all cells of code among them, that begins with what it needs."""
    v4 = nbformat.v4
    commands = "".join(f"\\newcommand{{\\{name}}}{{{value}}}" for name, value in macros.items())
    cells = [v4.new_markdown_cell(f"${commands}$", id="macros"), v4.new_code_cell(install, id="needs")]
    code = [i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for part in [*parts, len(notebook.cells)]:
        if isinstance(part, str):
            if cells[-1].cell_type == "markdown" and cells[-1].id != "macros":
                cells[-1].source += f"\n\n{part}"
            else:
                cells.append(v4.new_markdown_cell(part, id=f"text-{len(cells)}"))
            continue
        for i in [i for i in code if i <= part]:  # those that show nothing are not among the parts
            cell = notebook.cells[i]
            tags = cell.metadata.get("tags", [])
            folded = {"jupyter": {"source_hidden": True}} if HIDDEN.intersection(tags) else {}
            cells.append(v4.new_code_cell(cell.source, id=cell.id, metadata={"tags": tags, **folded}))
            code.remove(i)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def read(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Keep the notebook of a page that was made from one."""
    source = Path(app.env.doc2path(page))
    if source.suffix != ".ipynb":
        return
    others = (name for name in app.env.found_docs if app.env.doc2path(name).endswith(".ipynb"))
    notebooks = {os.path.relpath(name, Path(page).parent) for name in others}
    writer = Writer(app.env.toc_fignumbers.get(page, {}), notebooks)
    repository = app.config.html_theme_options.get("repository_url")
    install = INSTALL.format(cure=FETCHED.format(repository=repository) if repository else CLONED)
    macros = app.config.mathjax3_config["tex"]["macros"]
    made = plain(nbformat.read(source, as_version=4), list(writer.parts(doctree)), macros, install)
    app.plain_notebooks[page] = nbformat.writes(made)  # type: ignore[attr-defined]


def write(app: Sphinx, exception: Exception | None) -> None:
    """Put the notebooks where the buttons of the pages look for them."""
    for page, text in app.plain_notebooks.items() if exception is None else ():  # type: ignore[attr-defined]
        Path(app.outdir, "_sources", f"{page}.ipynb").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.plain_notebooks = {}  # type: ignore[attr-defined]
    app.connect("doctree-resolved", read, priority=900)
    app.connect("build-finished", write)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": False}
