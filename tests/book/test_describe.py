"""What a search engine shows of a page."""

import pytest

pytest.importorskip("sphinx")
from docutils import nodes
from docutils.utils import new_document


@pytest.fixture
def describe(extension):
    return extension("describe")


def page(*texts):
    document = new_document("page")
    document += [nodes.paragraph("", text) for text in texts]
    return document


def test_the_first_paragraph_that_is_no_label_describes_a_page(describe):
    long = "Which gradients does the conditional KL have, and which of them may be dropped?"
    assert describe.description(page("Question.", long, "Later.")) == long
    assert describe.description(page("Short.")) == ""


def test_a_long_one_ends_at_a_word(describe):
    said = describe.description(page("word " * 100))
    assert said.endswith("word …")
    assert len(said) <= describe.LONGEST + 2


def test_formulas_keep_their_letters(describe):
    assert describe.plain(r"KL[q(u \given v) \,\Vert\, p] of \lambda = \frac12 {x}") == "KL[q(u | v) p] of = 12 x"
