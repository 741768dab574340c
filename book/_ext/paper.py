"""The book as one LaTeX paper, and the link to it from the site.

The index page becomes the first chapter, the groups of the sidebar become parts, and the code that the site folds stands
at the end. ``paper.sty`` says how it looks, ``paper_blocks.py`` what becomes of single blocks.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.latex.nodes import thebibliography
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective


class IfFileDirective(SphinxDirective):
    """Content that is there if a file is: for a link to what need not have been made."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the content, or nothing."""
        self.assert_has_content()
        if not Path(self.env.srcdir, self.arguments[0]).exists():
            return []
        return self.parse_content_to_nodes()


class Structure(SphinxPostTransform):
    """Arrange the pages, which Sphinx has put into the index page, as a paper."""

    formats = ("latex",)
    default_priority = (
        900  # references are resolved, the bibliography is gathered
    )

    def run(self, **kwargs: Any) -> None:
        """Make the chapters and the parts, collect the folded code, and place the bibliography."""
        pages = list(self.document.findall(addnodes.start_of_file))
        if not pages:
            return
        book = self.document.next_node(nodes.section)
        groups = [node for node in book if is_group(node)]
        introduce(book, groups)
        self.divide(groups)
        pages[-1][:0] = [folded_code(pages), latex(r"\clearpage")]
        for bibliography in list(self.document.findall(thebibliography)):
            bibliography.parent.remove(bibliography)
            pages[-1][-1] += bibliography

    def divide(self, groups: list[nodes.compound]) -> None:
        """Name each group of pages, above its first."""
        index = self.env.get_doctree(self.config.root_doc)
        toctrees = index.findall(addnodes.toctree)
        for toctree, group in zip(toctrees, groups, strict=True):
            if caption := toctree.get("caption"):
                group[0].insert(0, latex(rf"\bookpart{{{caption}}}"))


def introduce(book: nodes.section, groups: list[nodes.compound]) -> None:
    """Put the index page's text into a chapter of its title, before the groups of pages."""
    text = [node for node in book[1:] if node not in groups]
    title = nodes.title("", book[0].astext())
    book[1:] = [nodes.section("", title, *text), *groups]


def is_group(node: nodes.Node) -> bool:
    """Tell whether a node holds the pages of one table of contents."""
    return (
        isinstance(node, nodes.compound)
        and "toctree-wrapper" in node["classes"]
    )


def is_folded(node: nodes.Node | None) -> bool:
    """Tell whether a node is a cell whose code the site folds."""
    return (
        isinstance(node, nodes.container) and node.get("hide_mode") == "input"
    )


def folded_code(pages: list[addnodes.start_of_file]) -> nodes.section:
    """Move the folded code of all pages into a chapter."""
    text = (
        "What the site folds: imports, pictures and tables, chapter by chapter."
    )
    chapter = nodes.section(
        "", nodes.title("", "Folded code"), nodes.paragraph("", text)
    )
    for page in pages:
        if cells := list(page.findall(is_folded)):
            title = nodes.title("", page.next_node(nodes.title).astext())
            code = [
                unfold(cell, f"{page['docname']}-{number}")
                for number, cell in enumerate(cells)
            ]
            chapter += nodes.section("", title, *code)
    return chapter


def unfold(cell: nodes.container, name: str) -> nodes.container:
    """Take the code out of a cell; where the next one is not folded too, a line says where it went."""
    code = cell.pop(0)
    code.insert(0, latex(rf"\folded{{{name}}}"))
    if not is_folded(cell.next_node(descend=False, siblings=True)):
        cell += latex(rf"\foldedat{{{name}}}")
    return code


def latex(text: str) -> nodes.raw:
    """Return LaTeX code."""
    return nodes.raw("", text, format="latex")


def configure(app: Sphinx, config: Config) -> None:
    """Give the paper its fonts for code, and the formulas' macros that MathJax has."""
    fonts = Path(mpl.get_data_path(), "fonts/ttf").glob("DejaVuSansMono*.ttf")
    sources = [Path(__file__).with_name("paper.sty"), *fonts]
    config.latex_additional_files += [str(source) for source in sources]
    macros = config.mathjax3_config["tex"]["macros"]
    config.latex_elements["preamble"] = r"\usepackage{paper}" + "".join(
        rf"\providecommand\{name}{{}}\renewcommand\{name}{{{text}}}"
        for name, text in macros.items()
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("config-inited", configure)
    app.add_directive("if-file", IfFileDirective)
    app.add_post_transform(Structure)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
