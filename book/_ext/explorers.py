"""The ``{explorer}`` directive: a figure whose curves follow sliders, all of them computed here.

In HTML the curves at the opening position stand in the page, so that without JavaScript it shows a picture.
``_static/explorers.js`` looks up the others in a table beside them. The pictures of a panel are a file among the site's
images, of which one part shows.
"""

from functools import cache
from pathlib import Path
from typing import Any

from condkl_book.explorers import EXPLORERS
from condkl_book.explorers.tables import DOTS, HEIGHT, WIDTH, Explorer, payload, sprite, svg_path
from condkl_book.style import COLOURS, DARK
from docutils import nodes
from docutils.parsers.rst import directives
from jinja2 import Environment, FileSystemLoader
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
TEMPLATES.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}  # the tables are large
TEMPLATES.globals |= {"payload": payload, "svg_path": svg_path, "sprite": sprite}
TEMPLATES.globals |= {"colours": COLOURS, "dark": DARK, "dots": DOTS, "width": WIDTH, "height": HEIGHT}


class explorer(nodes.figure):  # noqa: N801  (Sphinx names visitors after it)
    """An interactive figure: ``explorer["explorer"]`` names it, the caption is its child."""


class ExplorerDirective(SphinxDirective):
    """An interactive figure of ``condkl_book.explorers``, its caption as content."""

    required_arguments = 1
    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the figure with its caption."""
        name = self.arguments[0]
        if name not in EXPLORERS:
            known = ", ".join(EXPLORERS)
            raise self.error(f"explorer: expected one of {known}, got {name}.")
        self.assert_has_content()
        node = explorer("", explorer=name)
        text, messages = self.state.inline_text(" ".join(self.content), self.lineno)
        node += nodes.caption("", "", *text)
        self.set_source_info(node)
        self.add_name(node)
        return [node, *messages]


def visit_html(self: Any, node: explorer) -> None:
    """Write the figure up to its caption."""
    name = node["explorer"]
    folder = Path(self.builder.outdir, self.builder.imagedir)
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in images(name, made(name)).items():
        (folder / file).write_bytes(content)
    begin = self.starttag(node, "figure", CLASS="explorer", **{"data-explorer": name})
    self.body.append(begin + page(name, made(name), self.builder.imgpath))


def depart_html(self: Any, node: explorer) -> None:
    """Close the caption, which docutils leaves open, and the figure."""
    self.body.append("</figcaption>\n</figure>\n")


@cache
def made(name: str) -> Explorer:
    """Return an explorer with its tables; they are computed once a build."""
    return EXPLORERS[name]()


def page(name: str, figure: Explorer, folder: str) -> str:
    """Return controls, sentence, panels, legend and tables, and the pictures by their address in a folder."""
    sentence, longest = figure.sentences[figure.start()], max(figure.sentences, key=len)
    template = TEMPLATES.get_template("explorer.html")
    return template.render(name=name, figure=figure, sentence=sentence, longest=longest, images=folder)


def images(name: str, figure: Explorer) -> dict[str, bytes]:
    """Return the files of the panels' pictures, by the names under which the page asks for them."""
    numbered = enumerate(figure.panels)
    return {f"explorer-{name}-{i}.png": sprite(panel.picture).png for i, panel in numbered if panel.picture}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_enumerable_node(explorer, "figure", html=(visit_html, depart_html))
    app.add_directive("explorer", ExplorerDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
