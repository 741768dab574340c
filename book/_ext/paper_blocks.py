"""What single blocks of the book become in LaTeX: what cells show as HTML, glued pictures, long tables, proofs."""

import re
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from data_frames import NUMBER, columns_of
from docutils import nodes
from keep_marks import length
from myst_nb.ext.glue.crossref import PendingGlueReference, read_glue_cache
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx_proof.nodes import proof_node

logger = logging.getLogger(__name__)
SENTENCE = (
    nodes.paragraph,
    nodes.title,
    nodes.caption,
    nodes.strong,
    nodes.emphasis,
    nodes.inline,
    nodes.reference,
)
LONG = 1500  # characters of a table that may not fit on a page
SHORT = 20  # characters of a cell that is not broken
LINE = 84  # characters of a line of such a table
WORD = re.compile(r"[^\s_]*_|[^\s_]+")  # paper.sty lets lines break after _


class HtmlOutputs(SphinxPostTransform):
    """Turn the HTML that cells show into nodes that LaTeX can write."""

    formats = ("latex",)
    default_priority = 6  # once MyST-NB has chosen what each output shows, and data_frames.py has tidied it

    def run(self, **kwargs: Any) -> None:
        """Convert every output."""
        for raw in list(self.document.findall(nodes.raw)):
            if "text_html" in raw["classes"] and (node := convert(raw)):
                raw.replace_self(node)
        for line in list(self.document.findall(is_small)):
            place = line.parent.index(line)
            if place and is_small(before := line.parent[place - 1]):
                line.parent.remove(line)
                before += line.children


class GluedPictures(SphinxPostTransform):
    """Write the pictures glued from other pages, of which MyST-NB writes only the names."""

    formats = ("latex",)
    default_priority = 4  # before MyST-NB's own

    def run(self, **kwargs: Any) -> None:
        """Replace every reference to a picture by the picture."""
        folder = self.env.mystnb_config.output_folder
        for node in list(self.document.findall(PendingGlueReference)):
            glued = read_glue_cache(folder, node.refdoc).get(node.key, {})
            for kind in ("application/pdf", "image/png"):
                if node.gtype != "text" and kind in glued.get("data", {}):
                    node.replace_self(self.picture(glued["data"][kind], kind))
                    break

    def picture(self, data: str, kind: str) -> nodes.image:
        """Write a picture beside the paper."""
        content = b64decode(data)
        name = f"{sha256(content).hexdigest()}.{kind.split('/')[1]}"
        Path(self.app.outdir, name).write_bytes(content)
        return nodes.image(uri=name, candidates={"*": name})


class Tables(SphinxPostTransform):
    """Let long tables go on to the next page, lines in cells end without ending the row, and empty cells take no line."""

    formats = ("latex",)
    default_priority = 900

    def run(self, **kwargs: Any) -> None:
        """Mark long tables, and give them widths, which LaTeX finds for short ones only."""
        for cell in self.document.findall(nodes.entry):
            if not any(block.children for block in cell):
                cell.clear()
            for end in list(cell.findall(is_line_end)):
                end.replace_self(nodes.raw("", "\\newline\n", format="latex"))
        for table in list(self.document.findall(nodes.table)):
            if len(table.astext()) > LONG:
                place = table.parent.index(table)
                before = table.parent[place - 1 : place]
                if before and isinstance(before[0], addnodes.tabular_col_spec):
                    table.parent.remove(before[0])
                table["classes"].append("longtable")
                set_widths(table)


class Bars(SphinxPostTransform):
    """Take the bar of p(x|u) in a sentence from the font for formulas: in that for text it looks like an l."""

    formats = ("latex",)
    default_priority = 900

    def run(self, **kwargs: Any) -> None:
        """Replace the bars."""
        for text in list(self.document.findall(nodes.Text)):
            if "|" in text and isinstance(text.parent, SENTENCE):
                first, *rest = text.split("|")
                new: list[nodes.Node] = [nodes.Text(first)]
                for part in rest:
                    new += [
                        nodes.raw("", r"\textbar{}", format="latex"),
                        nodes.Text(part),
                    ]
                text.parent.replace(text, new)


class Proofs(SphinxPostTransform):
    """Set proofs as text, with a mark at the end, and let links find what they prove."""

    formats = ("latex",)
    default_priority = 900

    def run(self, **kwargs: Any) -> None:
        """Replace every proof, whose box would have no title, and give every statement an anchor."""
        for node in list(self.document.findall(is_statement)):
            anchor = nodes.raw("", r"\phantomsection", format="latex")
            node.parent.insert(node.parent.index(node), anchor)
        for node in list(self.document.findall(proof_node)):
            content = node[0].children
            first = content[0].next_node(nodes.Text)
            name, rest = first.split(" ", 1)
            first.parent[:1] = [
                nodes.emphasis(name, name),
                nodes.Text(f" {rest}"),
            ]
            ends_in_text = isinstance(content[-1], nodes.paragraph)
            end = content[-1] if ends_in_text else nodes.paragraph()
            end += nodes.raw("", r"\hfill$\square$", format="latex")
            node.replace_self([*content, *([] if ends_in_text else [end])])


def is_line_end(node: nodes.Node) -> bool:
    """Tell whether a node is the end of a line within a paragraph, as MyST-Parser writes it."""
    return isinstance(node, nodes.raw) and node.astext().strip() == r"\\"


def is_statement(node: nodes.Node) -> bool:
    """Tell whether a node is a proposition, a theorem or the like."""
    return isinstance(node, nodes.Element) and "realtype" in node


def set_widths(table: nodes.table) -> None:
    """Give each column room for its words, and the rest of the line to the columns that make the table long."""
    rows = [row.children for row in table.findall(nodes.row)]
    columns = columns_of(rows)
    texts = [[cell.astext() for cell in column] for column in columns]
    lengths = [[size(cell) for cell in column] for column in columns]
    widths = [
        3 + max(min(max(sizes), 9), *map(len, WORD.findall(" ".join(column))))
        for sizes, column in zip(lengths, texts)
    ]
    while sum(widths) < LINE:
        wider = [
            [*widths[:k], widths[k] + 1, *widths[k + 1 :]]
            for k in range(len(widths))
        ]
        widths = min(wider, key=lambda them: height(lengths, them))
    for column, width in zip(table.findall(nodes.colspec), widths, strict=True):
        column["colwidth"] = width
    table["classes"].append("colwidths-given")


def size(cell: nodes.Element) -> int:
    """Return about how many signs of a cell are seen."""
    return sum(
        length(text) if isinstance(text.parent, nodes.math) else len(text)
        for text in cell.findall(nodes.Text)
    )


def height(lengths: list[list[int]], widths: list[int]) -> float:
    """Return about how many lines a table takes: those of the longest cell in each row."""
    return sum(
        max(signs / width for signs, width in zip(row, widths))
        for row in zip(*lengths)
    )


def convert(raw: nodes.raw) -> nodes.Node | None:
    """Return what one output becomes, or warn where it is of no known kind."""
    html = BeautifulSoup(raw.astext(), "html.parser")
    if html.table:
        return dataframe(html.table)
    if line := html.select_one(".ledger-check, .source summary"):
        return small(nodes.Text(line.get_text()))
    logger.warning(
        "paper: expected a table, a check or a source in the HTML of an output, got %r. "
        "Let the object offer image/png or text/latex too.",
        raw.astext()[:60],
        location=raw,
    )
    return None


def is_small(node: nodes.Node) -> bool:
    """Tell whether a node is what ``small`` makes."""
    return isinstance(node, nodes.container) and "fineprint" in node["classes"]


def small(*content: nodes.Node) -> nodes.container:
    """Return a paragraph in small type."""
    return nodes.container(
        "", nodes.paragraph("", "", *content), classes=["fineprint"]
    )


def dataframe(html: Tag) -> nodes.container:
    """Return a table with columns of numbers to the right."""
    head = [line.find_all("th") for line in html.select("thead tr")]
    body = [line.find_all(["th", "td"]) for line in html.select("tbody tr")]
    width = sum(map(span, head[0]))
    columns = columns_of(body)
    group = nodes.tgroup(
        "",
        *(nodes.colspec(colwidth=1) for _ in columns),
        nodes.thead("", *map(row, head)),
        nodes.tbody("", *map(row, body)),
        cols=width,
    )
    spec = "".join(map(alignment, columns, head[-1]))
    return nodes.container(
        "",
        addnodes.tabular_col_spec(spec=spec),
        nodes.table("", group),
        classes=["dataframe"],
    )


def span(cell: Tag, way: str = "colspan") -> int:
    """Return how many columns, or rows, a cell spans."""
    return int(str(cell.get(way, 1)))


def alignment(cells: list[Tag], name: Tag) -> str:
    """Return the kind of a column: numbers to the right, texts to the left, and short texts on one line."""
    texts = [cell.get_text().strip() for cell in cells]
    if all(map(NUMBER.fullmatch, texts)):
        return "R"
    return "l" if max(map(len, [name.get_text(), *texts])) < SHORT else "L"


def row(cells: list[Tag]) -> nodes.row:
    """Return a row of a table."""
    return nodes.row("", *map(entry, cells))


def entry(cell: Tag) -> nodes.entry:
    """Return a cell of a table."""
    text = cell.get_text().strip().replace("± ", "±\N{NO-BREAK SPACE}")
    node = nodes.entry("", nodes.paragraph("", text))
    if (columns := span(cell)) > 1:
        node["morecols"] = columns - 1
    if (rows := span(cell, "rowspan")) > 1:
        node["morerows"] = rows - 1
    return node


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_post_transform(HtmlOutputs)
    app.add_post_transform(GluedPictures)
    app.add_post_transform(Tables)
    app.add_post_transform(Bars)
    app.add_post_transform(Proofs)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
