"""Equation numbers: the source's own for ``eq-1`` … ``eq-9``, and (chapter.k) for every other labelled one.

Sphinx counts equations through the whole book in reading order, so (5) would be whatever came fifth.
"""

import re
from collections import Counter
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.domains.math import MathDomain
from sphinx.writers.latex import LaTeXTranslator

NUMBERED = re.compile(
    r"(\\(?:begin|end)\{(?:align|alignat|equation|flalign|gather|multline))\}"
)


def prefix(docname: str) -> str:
    """Return what stands before the dot: ``02_kl_chain_rule`` gives 2, ``equations`` gives E."""
    name = docname.rsplit("/", 1)[-1]
    return (
        str(int(digits[0]))
        if (digits := re.match(r"\d+", name))
        else name[0].upper()
    )


class PaperMath(MathDomain):
    """The math domain, with numbers taken from labels."""

    def note_equation(
        self, docname: str, labelid: str, location: Any = None
    ) -> None:
        """Register an equation under the source's number or the chapter's next one."""
        super().note_equation(docname, labelid, location)
        if source := re.fullmatch(r"eq-(\d+)", labelid):
            number = source[1]
        else:
            counter: Counter[str] = self.env.temp_data.setdefault(
                "paper_eq", Counter()
            )
            counter[docname] += not is_random(labelid)
            number = f"{prefix(docname)}.{counter[docname]}"
        self.equations[labelid] = (docname, number)


def is_random(label: str) -> bool:
    """Tell whether MyST made up the label, as it does for a bare ``\\begin{align}``."""
    return (
        re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", label)
        is not None
    )


def unnumber(app: Sphinx, doctree: nodes.document) -> None:
    """Take the number off equations that carry no label: nothing can refer to it."""
    for node in doctree.findall(nodes.math_block):
        if is_random(node.get("label") or ""):
            node["number"] = None


def visit_latex(self: LaTeXTranslator, node: nodes.math_block) -> None:
    """Write an equation under its number, or one without a number, which ``paper.sty`` fits into the line."""
    text = node.astext().strip()
    if node.get("number"):
        self.body.append(f"\\renewcommand{{\\theequation}}{{{node['number']}}}")
    elif is_random(node.get("label") or ""):
        self.body.append(NUMBERED.sub(r"\1*}", text))
        raise nodes.SkipNode
    elif not node.get("nowrap") and "\n\n" not in text:
        self.body.append(f"\\fitline{{%\n{text}}}")
        raise nodes.SkipNode
    LaTeXTranslator.visit_math_block(self, node)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_domain(PaperMath, override=True)
    app.connect("doctree-read", unnumber)
    app.add_node(nodes.math_block, override=True, latex=(visit_latex, None))
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
