"""A formula in a sentence keeps its punctuation: a browser would start the next line with the comma."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

OPENING = re.compile(r"[(\[“]+$")
CLOSING = re.compile(r"^(?:’s\b|[\])”.,;:!?%])+")


class KeepMarks(SphinxPostTransform):
    """Put a formula into one box with the bracket before it and the marks after it; ``book.css`` keeps it on one line."""

    default_priority = 900  # every other text is final
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Do so for all formulas in sentences."""
        for formula in [*self.document.findall(nodes.math)]:
            around, at = formula.parent, formula.parent.index(formula)
            opening = OPENING.search(text_at(around, at - 1))
            closing = CLOSING.search(text_at(around, at + 1))
            if not opening and not closing:
                continue
            around[at] = box = nodes.inline("", "", classes=["together"])
            if opening:
                around[at - 1] = nodes.Text(opening.string[: opening.start()])
                box += nodes.Text(opening[0])
            box += formula
            if closing:
                around[at + 1] = nodes.Text(closing.string[closing.end() :])
                box += nodes.Text(closing[0])


def text_at(parent: nodes.Element, place: int) -> str:
    """Return the text at a place; nothing where markup or no node stands."""
    node = parent[place] if 0 <= place < len(parent) else None
    return str(node) if isinstance(node, nodes.Text) else ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_post_transform(KeepMarks)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
