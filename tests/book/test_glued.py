"""A number in the text leads to the cell that computed it."""

import re

import nbformat
import pytest

pytest.importorskip("sphinx")
from small_site import build

V4 = nbformat.v4


def computed(key, text):
    """Return what a notebook keeps of a glued number."""
    prefix = "application/papermill.record/"
    kept = {"scrapbook": {"name": key, "mime_prefix": prefix}}
    return V4.new_output("display_data", data={f"{prefix}text/plain": repr(text)}, metadata=kept)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return a chapter that computes numbers, one in a cell that is not shown, and a page that has them."""
    cells = [
        V4.new_code_cell("1", id="first", outputs=[computed("one", "1.5"), computed("two", "2.5")]),
        V4.new_code_cell("2", id="unseen", outputs=[computed("three", "3.5")], metadata={"tags": ["remove-cell"]}),
        V4.new_code_cell("3", id="last"),
        V4.new_markdown_cell("It is {glue:text}`one`, and {glue:text}`three`."),
    ]
    page = "Here {glue:text}`chapter.ipynb::two:s`; [within {glue:text}`chapter.ipynb::two:s`](chapter.ipynb) none."
    site = build(tmp_path_factory.mktemp("site"), cells, ["glued"], page)
    return {name: (site / f"{name}.html").read_text("utf-8") for name in ("chapter", "index")}


def links(page):
    """Return where its numbers lead, by what they say."""
    found = re.findall(r'<a class="([^"]*)" href="([^"]*)"><span class="pasted-text">([^<]*)</span></a>', page)
    return {said: target for classes, target, said in found if "glued" in classes.split()}


def test_on_another_page_a_number_leads_to_its_cell(pages):
    assert links(pages["index"]) == {"2.5": "chapter.html#cell-first"}
    assert 'id="cell-first"' in pages["chapter"]


def test_in_its_chapter_too_and_past_a_cell_that_is_not_shown(pages):
    assert links(pages["chapter"]) == {"1.5": "#cell-first", "3.5": "#cell-last"}
    assert "cell-unseen" not in pages["chapter"]


def test_in_a_link_a_number_is_plain(pages):
    assert re.search(r'<a [^>]*href="chapter.html"[^>]*>(?:<span[^>]*>)*within', pages["index"])
    assert pages["index"].count('class="glued') == 1
