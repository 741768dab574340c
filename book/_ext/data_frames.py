"""Data frames as tables are read: one row of headers, real minus signs, and numbers to the right, below each other."""

import re
from typing import Any

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

NUMBER = re.compile(
    r"[−+-]?[\d.,]+(e[−+-]?\d+)?%?( ± [\d.,]+)?|[−+-]?inf|–|nan|NaN|"
)
MINUS = re.compile(r"-(?=[\d.]|inf)")


class DataFrames(SphinxPostTransform):
    """Tidy the tables that cells show."""

    default_priority = 5  # once MyST-NB has chosen what each output shows

    def run(self, **kwargs: Any) -> None:
        """Do so for every data frame."""
        for raw in self.document.findall(nodes.raw):
            if "text_html" in raw["classes"] and "dataframe" in raw.astext():
                raw[:] = [nodes.Text(tidy(raw.astext()))]


def tidy(html: str) -> str:
    """Return the HTML of an output with its data frames tidied; ``book.css`` puts the class ``number`` to the right."""
    output = BeautifulSoup(html, "html.parser")
    for table in output.select("table.dataframe"):
        merge_headers(table)
        mark_numbers(table)
    return str(output)


def merge_headers(table: Tag) -> None:
    """Put the names of the index, which pandas gives a row of their own, into the row of the other names."""
    head = [line.find_all("th") for line in table.select("thead tr")]
    if len(head) != 2 or len(head[0]) != len(head[1]):
        return
    if any(a.get_text() and b.get_text() for a, b in zip(*head)):
        return
    for name, other in zip(*head):
        name.string = name.get_text() or other.get_text()
    table.select("thead tr")[1].decompose()


def mark_numbers(table: Tag) -> None:
    """Give the cells of a column of numbers, and its name, a class, and the numbers their minus signs."""
    body = [line.find_all(["th", "td"]) for line in table.select("tbody tr")]
    names = table.select("thead tr:last-child th")
    for column, name in zip(reversed(columns_of(body)), reversed(names)):
        texts = [cell.get_text().strip() for cell in column]
        if not all(map(NUMBER.fullmatch, texts)):
            continue
        for cell, text in zip(column, texts):
            cell.string = MINUS.sub("−", text)
        if column[0].name == "td":
            for cell in (name, *column):
                cell["class"] = [*cell.get("class", []), "number"]


def columns_of(rows: list[list[Any]]) -> list[list[Any]]:
    """Return the cells of each column, of rows that lack the cells spanned from above, which stand on the left."""
    width = max(map(len, rows), default=0)
    return [
        [row[place - width] for row in rows if len(row) >= width - place]
        for place in range(width)
    ]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_post_transform(DataFrames)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
