"""What leads to the repository: links to it, to its issues and to the source of each page, and to run a chapter elsewhere.

All of it follows from one setting, ``html_theme_options: repository_url``; without it none appears. Colab and Binder open
the plain notebooks, which publishing the book puts on a branch of their own.
"""

from typing import Any
from urllib.parse import quote

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

BRANCH, FOLDER = "main", "book"  # of the pages' sources
PLAIN, LAB = "notebooks", "lab"  # branch and folder of the plain notebooks
GITHUB = "https://github.com/"
BUTTONS = ("use_repository_button", "use_issues_button", "use_edit_page_button", "use_source_button")


def switch_on(app: Sphinx, config: Config) -> None:
    """Ask the theme for its links if the repository has an address."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options.update(dict.fromkeys(BUTTONS, True) | {"repository_branch": BRANCH, "path_to_docs": FOLDER})


def launches(repository: str, page: str) -> dict[str, str]:
    """Return where a chapter runs, by name: Colab takes notebooks from GitHub only."""
    name, path = repository.removesuffix("/").removeprefix(GITHUB), f"{LAB}/{quote(page)}.ipynb"
    if name == repository.removesuffix("/"):
        return {"Binder": f"https://mybinder.org/v2/git/{quote(name, safe='')}/{PLAIN}?urlpath=lab/tree/{path}"}
    return {
        "Binder": f"https://mybinder.org/v2/gh/{name}/{PLAIN}?urlpath=lab/tree/{path}",
        "Colab": f"https://colab.research.google.com/github/{name}/blob/{PLAIN}/{path}",
    }


def launch(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    """Add buttons that open a chapter where it runs."""
    repository = app.config.html_theme_options.get("repository_url")
    if not repository or doctree is None or not app.env.doc2path(page).endswith(".ipynb"):
        return
    icons = {"Binder": "_static/images/logo_binder.svg", "Colab": "_static/images/logo_colab.png"}
    buttons = [
        {"type": "link", "text": name, "tooltip": f"Launch on {name}", "icon": icons[name], "url": url}
        for name, url in launches(repository, page).items()
    ]
    group = {"type": "group", "tooltip": "Run this chapter", "icon": "fas fa-rocket", "label": "launch-buttons"}
    context["header_buttons"].append(group | {"buttons": buttons})


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("config-inited", switch_on)
    app.connect("html-page-context", launch, priority=502)  # after the theme's own buttons
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
