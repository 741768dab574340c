"""What a search engine shows of a page, and how long it takes to read."""

import re
from xml.etree import ElementTree

import nbformat
import pytest

pytest.importorskip("sphinx")
from docutils import nodes
from docutils.utils import new_document
from small_site import build

HOME = "https://example.org/a-book/"
LONG = "Which gradients does the conditional KL have, and which of them may be dropped?"


@pytest.fixture
def describe(extension):
    return extension("describe")


def page(*texts):
    document = new_document("page")
    document += [nodes.paragraph("", text) for text in texts]
    return document


def test_the_first_paragraph_that_is_no_label_describes_a_page(describe):
    assert describe.description(page("Question.", LONG, "Later.")) == LONG
    assert describe.description(page("Short.")) == ""


def test_a_long_one_ends_at_a_word(describe):
    said = describe.description(page("word " * 100))
    assert said.endswith("word …")
    assert len(said) <= describe.LONGEST + 2


def test_formulas_keep_their_letters(describe):
    assert describe.plain(r"KL[q(u \given v) \,\Vert\, p] of \lambda = \frac12 {x}") == "KL[q(u | v) p] of = 12 x"


@pytest.mark.parametrize("label", ["Question. ", "The question. "])
def test_the_label_of_a_question_is_left_out(describe, label):
    assert describe.description(page(label + LONG)) == LONG


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Return a site without an address and one with it, by the address."""

    def made(address):
        folder = tmp_path_factory.mktemp("site")
        cell = nbformat.v4.new_markdown_cell(LONG)
        return build(folder, [cell], ["describe"], LONG, settings={"html_baseurl": address})

    return {address: made(address) for address in ("", HOME)}


def test_what_a_page_says_of_itself_comes_first(describe):
    document = page(LONG)
    document.insert(0, nodes.meta("", name="description", content="May one detach v?"))
    assert describe.description(document) == "May one detach v?"


def metas(site, name):
    text = (site / f"{name}.html").read_text("utf-8")
    return dict(re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', text))


def test_a_page_says_when_and_by_whom(sites):
    found = metas(sites[""], "chapter")
    assert found["description"] == found["og:description"] == LONG
    assert re.fullmatch(r"\d{4}/\d\d/\d\d", found["citation_publication_date"])
    assert "og:url" not in found


def test_a_site_with_an_address_has_a_map_and_a_page_for_what_is_lost(sites):
    root = ElementTree.parse(sites[HOME] / "sitemap.xml").getroot()
    listed = {place.text for place in root.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    assert listed == {f"{HOME}chapter.html", f"{HOME}index.html"}
    assert f'href="{HOME}"' in (sites[HOME] / "404.html").read_text("utf-8")
    assert metas(sites[HOME], "index")["og:url"] == f"{HOME}index.html"


def test_a_site_without_one_has_neither(sites):
    assert not (sites[""] / "sitemap.xml").exists()
    assert not (sites[""] / "404.html").exists()


def test_a_chapter_says_below_its_title_how_long_it_takes(describe, monkeypatch):
    monkeypatch.setattr(describe, "reading_times", lambda: {"read-chapter": "25 min"})
    context = {"body": "<h1>A</h1><p>B</p><h1>C</h1>"}
    describe.time(None, "chapter", "page.html", context, None)
    assert context["body"] == '<h1>A</h1>\n<p class="reading-time">25 min to read</p><p>B</p><h1>C</h1>'
    other = {"body": "<h1>A</h1>"}
    describe.time(None, "api", "page.html", other, None)
    assert other["body"] == "<h1>A</h1>"
