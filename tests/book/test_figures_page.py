"""What pages show of a notebook's figures: both looks, their numbers, and all of them in the gallery."""

import io
import re
from base64 import b64decode

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest

pytest.importorskip("sphinx")
from small_site import build

from condkl_book import figure_data
from condkl_book.explorers import EXPLORERS

V4 = nbformat.v4
EXPLORER = "```{explorer} tempering\n:name: fig-explore\nA caption of its own.\n```"


def drawn(value):
    """Return what a notebook keeps of a figure."""
    figure, axes = plt.subplots()
    axes.plot([0, 1], [0, value], label="some")
    file = io.StringIO()
    figure.savefig(file, format="svg")
    plt.close(figure)
    data = {"image/svg+xml": file.getvalue(), "text/plain": "<Figure>"} | figure_data.bundle(figure)
    return V4.new_output("display_data", data=data)


def cell(name, *outputs):
    options = {"figure": {"name": name, "caption": f"The caption of {name}."}, "image": {"alt": f"See {name} & more."}}
    return V4.new_code_cell("plt.show()", outputs=list(outputs), metadata={"mystnb": options})


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of a book with a figure, one whose runs are shown below it, and an interactive one."""
    runs = V4.new_output("display_data", data={"text/html": '<div class="source">2 runs</div>'})
    cells = [
        cell("fig-alone", drawn(1)),
        V4.new_markdown_cell(EXPLORER),
        cell("fig-with-runs", drawn(2)),
        V4.new_code_cell("source()", outputs=[runs]),
    ]
    return build(tmp_path_factory.mktemp("site"), cells, ["explorers", "figures", "gallery"], page="```{gallery}\n```")


@pytest.fixture(scope="module")
def chapter(site):
    return (site / "chapter.html").read_text("utf-8")


@pytest.fixture(scope="module")
def gallery(site):
    return (site / "index.html").read_text("utf-8")


def images(page):
    """Return the pictures of a page by their look: address and alternative text."""
    found = re.findall(r'<img class="(only-\w+)" src="([^"]+)" width="(\d+)" height="(\d+)" alt="([^"]+)"', page)
    return {look: [one[1:] for one in found if one[0] == look] for look in ("only-light", "only-dark")}


def test_a_figure_has_both_looks_in_one_file_with_the_same_words(chapter):
    shown = images(chapter)
    light = [(f"{src}#dark", *rest) for src, *rest in shown["only-light"]]
    assert light == [tuple(one) for one in shown["only-dark"]]
    assert [one[-1] for one in light] == ["See fig-alone &amp; more.", "See fig-with-runs &amp; more."]


def test_its_caption_is_no_sibling_of_what_the_theme_hides(chapter):
    assert len(re.findall(r'<div class="picture"><img [^>]*><img [^>]*></div>\s*<figcaption', chapter)) == 2


def test_the_file_has_both_looks_and_stands_there_once(site, chapter, gallery):
    files = {path.name: path.read_text("utf-8") for path in (site / "_images").iterdir()}
    assert all(":root:target{" in text for text in files.values())
    for page in (chapter, gallery):
        assert {src.split("/")[-1] for src, *_ in images(page)["only-light"]} == set(files)


def test_its_numbers_are_below_it_under_its_name(chapter):
    ((name, data),) = re.findall(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"', chapter)
    assert name == "fig-alone.csv"
    assert pd.read_csv(io.BytesIO(b64decode(data)))["y"].tolist() == [0, 1]


def test_a_figure_whose_runs_stand_below_it_has_no_second_link(chapter):
    assert "fig-with-runs.csv" not in chapter


def test_the_gallery_has_every_figure_once_with_caption_and_way_there(gallery):
    cards = re.findall(
        r'<figure class="\w+"><a href="([^"]+)">(.*?)</a><figcaption>(.*?)</figcaption>', gallery, re.DOTALL
    )
    assert [target for target, _, _ in cards] == [
        f"chapter.html#fig-{name}" for name in ("alone", "explore", "with-runs")
    ]
    words = [re.sub("<[^>]+>", "", text).strip() for _, _, text in cards]
    assert words[0] == "Fig. 1. The caption of fig-alone."
    assert words[1] == "Fig. 2. A caption of its own."
    assert cards[1][1].count("<svg") == cards[1][1].count("</svg>") == 1
    assert EXPLORERS["tempering"]().panels[0].alt[:40] in cards[1][1]


def test_the_gallery_has_the_titles_of_the_pages_that_have_figures(gallery):
    assert [re.sub("<[^>]+>", "", title) for title in re.findall("<h2>(.*?)</h2>", gallery)] == ["A chapter"]
