"""The words that a reader of a page sees before opening anything, counted in its Markdown."""

import json
import re
from pathlib import Path

BOOK = Path(__file__).parents[2] / "book"
FENCE = re.compile(r"\s*(`{3,}|:{3,})(?:\{([\w:-]+)\})?(.*)$")
FOLDED = {"dropdown", "solution", "checks"}
OPTION = re.compile(r"\s*:\w[\w-]*:")


def markdown(page):
    """The text of a page or a notebook, without its cells of code."""
    source = (BOOK / page).read_text("utf-8")
    if not page.endswith(".ipynb"):
        return source
    cells = json.loads(source)["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def visible(text):
    """The text without folded blocks, and without the fences and options of the others; titles stay."""
    shown, around = [], []  # the fences that are open: how long, and of what
    for line in text.split("\n"):
        if fence := FENCE.match(line):
            marks, directive, rest = fence.groups()
            if directive or not around or len(marks) < around[-1][0]:
                around.append((len(marks), directive))
                if directive not in {None, "math"} and not FOLDED.intersection(d for _, d in around):
                    shown.append(rest)
            else:
                around.pop()
        elif not FOLDED.intersection(d for _, d in around) and not (around and OPTION.match(line)):
            shown.append(line)
    return "\n".join(shown)


def sentences(text):
    """The sentences of a text, which displayed formulas end; others are a word each, as roles are."""
    apart = re.sub(r"\$\$.*?\$\$", "\n\n", text, flags=re.DOTALL)
    prose = re.sub(r"\$[^$]*\$|\{[\w:-]+\}`[^`]*`", "x", apart)
    lines = [line for line in prose.split("\n") if not re.match(r"\s*([#|]|\* - |- \s*$)", line)]
    parts = re.split(r"(?<=[.!?:])\s+|\n\s*\n|\n\s*(?=[-*] |\d+\. )", "\n".join(lines))
    return [part.strip() for part in parts if part.strip()]
