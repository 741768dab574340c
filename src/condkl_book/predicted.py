"""The predictions as Markdown: the lists of their page, and the verdicts of the results chapter."""

import re
from collections.abc import Mapping

from condkl_studies.predictions import Verdict, predictions

_LINK = re.compile(r"\[(\d+)\]\(\w+\.ipynb\)")  # a statement's link to a chapter, which has had other names since
# What a statement's markup becomes where it stands as plain text.
_PLAIN = (
    (r"\{eq\}`eq-(\d)`", r"eq. (\1)"),
    (r"\{cite:\w\}`\w+`", "Burda et al. (2015)"),
    (r"\\tfrac12", "½"),
    (r"\\given", "|"),
    (r"\\lambda", "λ"),
    (r"\\theta", "θ"),
    (r"\\phi", "φ"),
    (r"\\[,;]", ""),
    (r"\^\{([^{}]*)\}", r"^(\1)"),
    (r"\$|\*\*|`", ""),
    (r" \| ", "|"),
)


def statements(section: str) -> str:
    """The predictions of a module of `condkl_studies.predictions` with their reasons, as a numbered list.

    Their words stay, with the chapters' numbers of their day; links to these would lead nowhere.
    """
    found = [
        f"{one.number}. {_LINK.sub(lambda link: link[1], one.text)}" for one in predictions() if one.section == section
    ]
    if not found:
        raise ValueError(f"section: expected one with predictions, got {section!r}.")
    return "\n".join(found)


def sentence(number: int, verdict: Verdict) -> str:
    """The verdict on a prediction, and what was found."""
    return f"**Prediction {number} {verdict}:** {verdict.evidence}"


def table(judged: Mapping[int, Verdict]) -> str:
    """All predictions, without their reasons, with what was found."""
    rows = ["| no. | prediction | verdict | what was found |", "|---|---|---|---|"]
    for one in predictions():
        found = judged[one.number].evidence
        found = found if found.startswith("p(") else found[0].upper() + found[1:]
        cells = (str(one.number), plain(one.statement), str(judged[one.number]), found)
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


def filed(kind: str) -> str:
    """What had shown each prediction that is `foreshadowed`, or why the bound of each that is `loose` says little."""
    return "\n".join(f"- **{one.number}:** {why}" for one in predictions() if (why := getattr(one, kind)))


def plain(statement: str) -> str:
    r"""A statement without its markup.

    Example:
        >>> plain(r"**With $p(x \given u)$, {eq}`eq-9` loses it.** $\lambda = \tfrac12$ does too.")
        'With p(x|u), eq. (9) loses it. λ = ½ does too.'
    """
    for markup, text in _PLAIN:
        statement = re.sub(markup, text, statement)
    return statement.strip()
