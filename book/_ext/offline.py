"""Serve MathJax from the book itself, and drop the thebe scripts, which name a content network."""

import importlib.metadata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.fileutil import copy_asset

# The entry point, its fonts, and the extensions that TeX input loads on demand: 2 MB of the wheel's 20.
PARTS = ("tex-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")


def copy_mathjax(app: Sphinx, exception: Exception | None) -> None:
    """Copy MathJax into ``_static/mathjax`` of the finished site.

    Not by ``html_static_path``: Jupyter Book would put every script found there on every page.
    """
    if exception or app.builder.format != "html":
        return
    wheel = importlib.metadata.distribution("sphinx-mathjax-offline")
    source = Path(str(wheel.locate_file("sphinx-mathjax-offline/static/mathjax")))
    target = Path(app.outdir, "_static", "mathjax")
    for part in PARTS:
        folder = target / part if (source / part).is_dir() else (target / part).parent
        folder.mkdir(parents=True, exist_ok=True)
        copy_asset(source / part, folder)


def strip_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Remove thebe's scripts and styles from a page."""

    def is_thebe(asset: Any) -> bool:
        body = getattr(asset, "attributes", {}).get("body", "")
        return "thebe" in f"{getattr(asset, 'filename', asset)}{body}"

    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context[kind] if not is_thebe(asset)]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("build-finished", copy_mathjax)
    app.connect("html-page-context", strip_thebe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
