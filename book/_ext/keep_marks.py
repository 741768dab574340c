"""Formulas and intervals in sentences: where the next line may begin.

A long formula may go on there, and each keeps its punctuation: a browser moves a formula as one block, and would start a
line with the comma after it. An interval, "1.65 ± 0.21", stays in one line.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

OPENING = re.compile(r"[(\[“]+$")
CLOSING = re.compile(r"^(?:’s\b|[\])”.,;:!?%])+")
LONG = 22  # signs of a formula that may be wider than a phone
TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|.", re.DOTALL)
UNSEEN = re.compile(
    r"[\s{}^_&]|\\[,;!: ]|\\(?:left|right|[bB]igg?[lr]?|tfrac|d?frac|mathrm|operatorname|text|quad)"
)
RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\propto", r"\approx", r"\to"}
SIGNS = {"+", "-"}
VERBATIM = (nodes.literal, nodes.literal_block, nodes.raw, nodes.math)
DEPTH = dict.fromkeys(("{", "(", "[", r"\{", r"\langle"), 1) | dict.fromkeys(
    ("}", ")", "]", r"\}", r"\rangle"), -1
)


class BreakFormulas(SphinxPostTransform):
    """Cut the long formulas in sentences before relations, and before signs where that is not enough."""

    default_priority = 890  # before KeepMarks
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Do so for all formulas in sentences."""
        for formula in [*self.document.findall(nodes.math)]:
            parts = [
                small
                for part in cut(formula.astext(), RELATIONS)
                for small in cut(part, SIGNS)
            ]
            if len(parts) > 1:
                new: list[nodes.Node] = [nodes.math(parts[0], parts[0])]
                for part in parts[1:]:
                    new += [nodes.Text(" "), nodes.math(part, part)]
                formula.parent.replace(formula, new)


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


class KeepIntervals(SphinxPostTransform):
    """Let no line end beside the sign of an interval."""

    default_priority = 910
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Do so for all sentences."""
        for text in [*self.document.findall(nodes.Text)]:
            if " ± " in text and not isinstance(text.parent, VERBATIM):
                text.parent.replace(text, nodes.Text(unbroken(text)))


def unbroken(sentence: str) -> str:
    """Return a sentence with spaces that do not break around ±."""
    return sentence.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")


def cut(formula: str, before: set[str]) -> list[str]:
    """Return the parts of a formula, cut before some signs outside of all brackets; a short one stays whole."""
    if length(formula) <= LONG or r"\begin" in formula:
        return [formula]
    ends = [0, *places(formula, before), len(formula)]
    return [formula[a:b].strip() for a, b in pairwise(ends)]


def places(formula: str, wanted: set[str]) -> Iterator[int]:
    """Yield where signs stand outside of all brackets, but for one with which the formula begins."""
    depth, begun = 0, False
    for token in TOKEN.finditer(formula):
        depth += DEPTH.get(token[0], 0)
        if depth == 0 and begun and token[0] in wanted:
            yield token.start()
        begun |= not token[0].isspace() and token[0] not in RELATIONS


def length(formula: str) -> int:
    """Return about how many signs of a formula are seen."""
    return sum(
        not sign.isspace() for sign in TOKEN.findall(UNSEEN.sub(" ", formula))
    )


def text_at(parent: nodes.Element, place: int) -> str:
    """Return the text at a place; nothing where markup or no node stands."""
    node = parent[place] if 0 <= place < len(parent) else None
    return str(node) if isinstance(node, nodes.Text) else ""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_post_transform(BreakFormulas)
    app.add_post_transform(KeepMarks)
    app.add_post_transform(KeepIntervals)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
