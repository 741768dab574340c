"""A site of one page and one notebook, built in a second or two with some of the book's extensions."""

from pathlib import Path

import nbformat
import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

EXTENSIONS = Path(__file__).parents[2] / "book" / "_ext"


def build(folder, cells, extensions, page="", options=None, settings=None):
    """Build it, every warning an error, and return the folder of the pages."""
    source, made = folder / "source", folder / "made"
    source.mkdir()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    text = nbformat.v4.new_markdown_cell("# A chapter\n\nSome text.")
    notebook = nbformat.v4.new_notebook(cells=[text, *cells], metadata={"kernelspec": kernel})
    (source / "chapter.ipynb").write_text(nbformat.writes(notebook), "utf-8")
    (source / "index.md").write_text(f"# A book\n\nIts text.\n\n{page}\n\n```{{toctree}}\nchapter\n```\n", "utf-8")
    settings = (settings or {}) | {
        "extensions": ["myst_nb", *extensions],
        "nb_execution_mode": "off",
        "nb_output_stderr": "remove",
        "suppress_warnings": ["mystnb.unknown_mime_type"],
        "html_theme": "sphinx_book_theme",
        "html_theme_options": options or {},
        "numfig": True,
    }
    with pytest.MonkeyPatch.context() as patch, docutils_namespace(), patch_docutils(source):  # several in one process
        patch.syspath_prepend(str(EXTENSIONS))
        app = Sphinx(source, None, made, folder / "trees", "html", settings, status=None, warningiserror=True)
        app.build()
    assert app.statuscode == 0
    return made
