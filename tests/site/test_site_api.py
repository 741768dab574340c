"""From an equation to its proof, its tests and its code, from a figure to its runs, and every public name."""

import functools

import pytest
from bs4 import BeautifulSoup
from built_site import PAGES, SITE, resolve
from public import PUBLIC, offered

pytestmark = pytest.mark.site
API = [page for page in PAGES if page.startswith("api/")]


@functools.cache
def soup(page):
    return BeautifulSoup((SITE / page).read_text("utf-8"), "html.parser")


@functools.cache
def lines():
    """The rows of the ledger, by anchor."""
    rows = soup("ledger.html").select("table.ledger tbody tr")
    return {row.select_one("[id]")["id"]: row for row in rows}


def links(part):
    return [a["href"] for a in part.select("a[href]")]


def source(link):
    """Where the link beside a name leads, from a link to that name on an API page."""
    page, anchor = resolve("ledger.html", link)
    beside = soup(page).find("dt", id=anchor).find("span", class_="viewcode-link")
    return resolve(page, beside.find_parent("a")["href"])


@pytest.mark.parametrize("number", range(1, 10))
def test_three_clicks_lead_from_an_equation_to_its_proof_its_tests_and_its_code(number):
    assert f"ledger.html#ledger-{number}" in links(soup("notation.html").article), "the first click"
    to = links(lines()[f"ledger-{number}"])
    assert any(link.endswith(f"#equation-eq-{number}") for link in to), "the second click, to the proof"
    assert any(link.startswith("_tests/") for link in to), "the second click, to a test"
    code = [link for link in to if link.startswith("api/")]
    assert code
    for page, anchor in map(source, code):  # the third click
        assert page.startswith("_modules/")
        assert soup(page).find(id=anchor)


def test_every_line_of_the_ledger_leads_to_its_statement():
    assert len(lines()) > 9
    statements = {anchor: links(row.td)[0] for anchor, row in lines().items()}
    for anchor, link in statements.items():
        page, target = resolve("ledger.html", link)
        assert soup(page).find(id=target), anchor


def test_a_line_with_code_has_tests():
    for anchor, row in lines().items():
        to = links(row)
        assert any(link.startswith("api/") for link in to) == any(link.startswith("_tests/") for link in to), anchor


@pytest.mark.parametrize(
    "page", ["06_protocol.html", "07_two_layers.html", "09_other_models.html", "10_the_verdict.html"]
)
def test_every_source_under_a_figure_leads_to_its_runs(page):
    sources = soup(page).select("div.source:has(summary)")  # others have the numbers of a figure without runs
    assert sources
    for source in sources:
        to = [link for link in links(source) if link.startswith("runs.html#run-")]
        stated = int(source.summary.get_text().removeprefix("Source: ").split()[0])
        assert len(to) == stated, source.summary.get_text()


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference_with_its_source(module):
    shown = {tag["id"]: tag for page in API for tag in soup(page).select("dt[id]")}
    for name, thing in offered(module):
        tag = shown[f"{module}.{name}"]
        if getattr(thing, "__name__", None) == name:  # no alias
            assert tag.find("span", class_="viewcode-link"), name
