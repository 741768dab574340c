"""One setting, the repository's address, brings every link that leads there; without it there is none."""

import re

import nbformat
import pytest

pytest.importorskip("sphinx")
from jupyter_book.config import get_final_config
from small_site import EXTENSIONS, build

BOOK = EXTENSIONS.parent
CLI = {"latex_individualpages": False}  # Jupyter Book asks for it

ADDRESS = "https://github.com/someone/a-book"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the chapter and the page, with the address and without."""

    def made(options):
        folder = tmp_path_factory.mktemp("site")
        site = build(folder, [nbformat.v4.new_code_cell("1")], ["repository"], options=options)
        return {name: (site / f"{name}.html").read_text("utf-8") for name in ("chapter", "index")}

    return {"with": made({"repository_url": ADDRESS}), "without": made({})}


def links(page):
    return set(re.findall(r'href="(https://(?:github|mybinder|colab)[^"]+)"', page))


def test_with_it_a_chapter_leads_to_the_repository_and_to_where_it_runs(pages):
    found = links(pages["with"]["chapter"])
    wanted = {
        ADDRESS,
        f"{ADDRESS}/edit/main/book/chapter.ipynb",
        f"{ADDRESS}/blob/main/book/chapter.ipynb?plain=1",
        "https://mybinder.org/v2/gh/someone/a-book/notebooks?urlpath=lab/tree/lab/chapter.ipynb",
        "https://colab.research.google.com/github/someone/a-book/blob/notebooks/lab/chapter.ipynb",
    }
    assert wanted <= found
    assert any(link.startswith(f"{ADDRESS}/issues/new") for link in found)


def test_with_it_a_page_of_text_runs_nowhere(pages):
    found = links(pages["with"]["index"])
    assert f"{ADDRESS}/edit/main/book/index.md" in found
    assert not any("binder" in link or "colab" in link for link in found)


def test_without_it_no_link_leads_there(pages):
    assert [link for page in pages["without"].values() for link in links(page) if "someone" in link] == []
    assert not re.search("binder|colab|source-repository|source-edit|issues", pages["without"]["chapter"].lower())


def test_elsewhere_than_on_github_there_is_binder_alone(extension):
    found = extension("repository").launches("https://gitlab.com/someone/a-book", "one")
    assert found == {
        "Binder": "https://mybinder.org/v2/git/https%3A%2F%2Fgitlab.com%2Fsomeone%2Fa-book/notebooks"
        "?urlpath=lab/tree/lab/one.ipynb"
    }


def test_the_book_does_not_lead_to_the_repository_of_jupyter_book():
    config, _ = get_final_config(user_yaml=BOOK / "_config.yml", sourcedir=BOOK, cli_config=CLI)
    assert "jupyter-book" not in config["html_theme_options"]["repository_url"]
