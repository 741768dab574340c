"""The paper on the site: its PDF, and the pages' words about it, which are in ``{only} paper``.

Where ``make paper`` has not built it there are neither. Executing a chapter deletes it, so it never has older numbers.
"""

import shutil
from pathlib import Path
from typing import Any

import condkl
from sphinx.application import Sphinx
from sphinx.config import Config

PDF = Path(condkl.__file__).parents[2] / "paper" / "main.pdf"


def speak(app: Sphinx, config: Config) -> None:
    """Show what the pages say of the paper, if there is one."""
    if PDF.exists():
        app.tags.add("paper")


def copy(app: Sphinx, exception: Exception | None) -> None:
    """Put the paper beside the pages."""
    if exception is None and "paper" in app.tags:
        shutil.copyfile(PDF, Path(app.outdir, "paper.pdf"))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("config-inited", speak)
    app.connect("build-finished", copy)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
