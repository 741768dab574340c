"""The files of the built site, without a browser: run by ``make site-test``."""

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import nbformat
import pandas as pd
import pytest
from built_site import EXTRA, LOCAL, PAGES, SITE, markup, resolve
from nbclient import NotebookClient

pytestmark = pytest.mark.site

MB = 1_000_000
CHAPTERS = [page for page in PAGES if markup(page).has_code_cells]
WITH_TABLES = [page for page in PAGES if markup(page).downloads]


def text(page):
    return (SITE / page).read_text("utf-8")


def within(page):
    """List the links of a page that stay within the site."""
    return [link for link in markup(page).links if not urlsplit(link).scheme]


def test_the_site_is_built():
    assert (SITE / "index.html").exists(), f"there is no site at {SITE}: run `make book`"
    assert len(PAGES) > len(EXTRA)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    broken = []
    for link in within(page):
        path, anchor = resolve(page, link)
        known = (SITE / path).is_file() and (not anchor or not path.endswith(".html") or anchor in markup(path).ids)
        if not known:
            broken.append(link)
    assert broken == []


def test_the_paper_is_offered_where_it_was_built():
    assert (SITE / "paper.pdf").is_file() == ("paper.pdf" in markup("index.html").links)


@pytest.mark.parametrize("number", range(1, 10))
def test_equation_of_the_source_stands_on_one_page(number):
    pages = [page for page in PAGES if f"equation-eq-{number}" in markup(page).ids]
    assert len(pages) == 1, f"label eq-{number} stands on {pages or 'no page'}"


def test_every_labelled_equation_has_a_number_of_its_own_which_links_to_it_show():
    numbers = {}
    for page in PAGES:
        for anchor, shown in re.findall(r'id="(equation-[^"]+)">\s*<span class="eqno">(\(\d+\))', text(page)):
            numbers[page, anchor] = shown
    assert {numbers.get((page, f"equation-eq-{n}")) for page in PAGES for n in range(1, 10)} - {None} == {
        f"({n})" for n in range(1, 10)
    }
    assert all(shown == f"({anchor[-1]})" for (_, anchor), shown in numbers.items() if re.search(r"eq-\d$", anchor))
    assert len(set(numbers.values())) == len(numbers) > 9
    links = [
        (page, *found)
        for page in PAGES
        for found in re.findall(r'href="([^"]*#equation-eq-[^"]+)">([^<]*)<', text(page))
    ]
    wrong = [
        (page, link, shown) for page, link, shown in links if shown != "#" and numbers.get(resolve(page, link)) != shown
    ]
    assert links
    assert wrong == []


def test_next_and_previous_walk_the_whole_book():
    walked = ["index.html"]
    while (link := markup(walked[-1]).walk.get("right-next")) and len(walked) <= len(PAGES):
        walked.append(resolve(walked[-1], link)[0])
        assert resolve(walked[-1], markup(walked[-1]).walk["left-prev"])[0] == walked[-2]
    assert sorted(walked) == sorted(set(PAGES) - EXTRA)


@pytest.mark.parametrize("page", CHAPTERS)
def test_a_chapter_offers_its_notebook(page):
    notebooks = [SITE / resolve(page, link)[0] for link in within(page) if link.endswith(".ipynb")]
    assert f"{Path(page).stem}.ipynb" in {path.name for path in notebooks}
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert any(cell.cell_type == "code" for cell in notebook.cells)
        text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
        assert re.findall(r"\{[\w:-]+\}`|^`{3,}\{|^:{3,}", text, flags=re.MULTILINE) == [], (
            "what only the book can read"
        )


def test_the_notebook_of_a_chapter_runs_outside_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notebook = nbformat.read(SITE / "_sources" / "01_hierarchies.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()


@pytest.mark.parametrize("page", sorted(set(PAGES) - EXTRA))
def test_a_page_says_what_it_is_about(page):
    found = re.findall(r'<meta (?:content="[^"]+" )?name="description"', text(page))  # docutils writes it last
    assert len(found) == 1 or page in {"ledger.html", "references.html"} or page.startswith("api/")


def test_results_can_be_downloaded():
    assert {"06", "07", "08", "09", "10"} <= {page[:2] for page in WITH_TABLES}


@pytest.mark.parametrize("page", WITH_TABLES)
def test_tables_of_a_page_can_be_read_again(page):
    for name, link in markup(page).downloads.items():
        assert name.endswith(".csv")
        assert link.startswith("data:text/csv"), name
        table = pd.read_csv(urlopen(link))
        assert len(table) > 0, name
        assert table.notna().any().all(), f"{name} has an empty column"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_and_its_images_are_below_3_MB(page):
    images = {resolve(page, link)[0] for link in markup(page).images if not link.startswith(LOCAL)}
    sizes = {path: (SITE / path).stat().st_size for path in (page, *images)}
    assert sum(sizes.values()) < 3 * MB, sizes


def test_the_site_is_below_40_MB():
    sizes = {path.relative_to(SITE).as_posix(): path.stat().st_size for path in SITE.rglob("*") if path.is_file()}
    heaviest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    assert sum(sizes.values()) < 40 * MB, heaviest
