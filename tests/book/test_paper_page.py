"""The site carries the paper, and speaks of it, where it was built; elsewhere it does neither, and is as strict."""

import pytest

pytest.importorskip("sphinx")
import nbformat
from small_site import build

PAGE = """```{only} paper
Read <a href="paper.pdf">the paper</a>.
```
"""


@pytest.fixture
def made(tmp_path, monkeypatch, extension):
    """Return a function that builds a site beside a paper, or beside none."""
    monkeypatch.setattr(extension("paper"), "PDF", tmp_path / "main.pdf")
    return lambda: build(tmp_path, [nbformat.v4.new_code_cell("1")], ["paper"], page=PAGE)


def test_where_the_paper_was_built_the_front_page_leads_to_it(made, tmp_path):
    (tmp_path / "main.pdf").write_bytes(b"%PDF")
    site = made()
    assert (site / "paper.pdf").read_bytes() == b"%PDF"
    assert 'Read <a href="paper.pdf">the paper</a>.' in (site / "index.html").read_text("utf-8")


def test_where_it_was_not_nothing_speaks_of_it(made):
    site = made()
    assert not (site / "paper.pdf").exists()
    assert "the paper" not in (site / "index.html").read_text("utf-8")
