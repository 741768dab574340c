"""The API pages: a section for each module, and what autodoc needs to show docstrings and signatures as they are written.

In a page ``{modules} condkl.vae condkl.objectives`` stands for those modules and the public ones below them, which are
found by name; in the index ``{summary} api/models`` for a table of what a page has.
"""

import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

EXPANDED = re.compile(r"^\{(modules|summary)\} (.+)$", re.MULTILINE)
# Private ones, and the other ways to write a step, which import what need not be installed.
HIDDEN = re.compile(r"\._[a-z]|_steps$")
EXTRA = {"condkl.pyro": "pyro"}  # what is left out where it cannot be imported
# Code in backticks, an example with its output, or a bar, where RST would see a substitution.
BAR = re.compile(r"(`[^`]*`|^ *>>> .*(?:\n *\S.*)*)|\|", re.MULTILINE)


def modules(names: str) -> Iterator[str]:
    """Yield the modules of those names, each followed by the public ones below it."""
    for name in names.split():
        if name in EXTRA and find_spec(EXTRA[name]) is None:
            continue
        below = pkgutil.iter_modules(getattr(import_module(name), "__path__", ()), f"{name}.")
        yield name
        yield from (inner for one in below if not HIDDEN.search(one.name) for inner in modules(one.name))


def expand(app: Sphinx, docname: str, source: list[str]) -> None:
    """Write out ``{modules}`` and ``{summary}``."""

    def written(found: re.Match[str]) -> str:
        kind, names = found.groups()
        if kind == "modules":
            shown = "## {0}\n\n```{{eval-rst}}\n.. automodule:: {1}\n```\n"
            # A long name breaks after a dot, where the list of a page's contents is narrow.
            titles = {name: name.replace("_", r"\_").replace(".", ".\u200b") for name in modules(names)}
            return "\n".join(shown.format(title, name) for name, title in titles.items())
        page = Path(app.srcdir, f"{names}.md").read_text("utf-8")
        rows = ["Module\n  - What it is for"]
        for name in (name for _, line in EXPANDED.findall(page) for name in modules(line)):
            rows.append(f"{{py:mod}}`{name}`\n  - {(import_module(name).__doc__ or '').splitlines()[0]}")
        return "\n* - ".join(["```{list-table}\n:header-rows: 1\n:class: ledger\n", *rows]) + "\n```"

    source[0] = EXPANDED.sub(written, source[0])


def keep_bars(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Escape the bars of ``q(u|v)`` and ``|x|`` in a docstring."""
    lines[:] = BAR.sub(lambda found: found[1] or r"\|", "\n".join(lines)).split("\n")


def shorten(app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str) -> Any:
    """Write ``ArrayLike``, which autodoc would spell out, and defaults that Sphinx can read."""
    if signature:
        signature = signature.replace(stringify_annotation(ArrayLike, "smart"), "ArrayLike").replace("<factory>", "...")
    return signature, returns


def no_tuple_fields(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the "Alias for field number 0" of named tuples, whose docstring names the fields."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def look_further(app: Sphinx, doctree: Any) -> None:
    """Let a name like ``engine.fit_run`` or ``RunConfig`` be one of another module; ``data`` may be an argument."""
    for node in doctree.findall(pending_xref):
        target = node.get("reftarget", "")
        if node.get("refdomain") == "py" and (target[:1].isupper() or "." in target):
            node["refspecific"] = True


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("source-read", expand)
    app.connect("autodoc-process-docstring", keep_bars, priority=400)  # before napoleon, which reads the same lines
    app.connect("autodoc-process-signature", shorten)
    app.connect("autodoc-skip-member", no_tuple_fields)
    app.connect("doctree-read", look_further)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
