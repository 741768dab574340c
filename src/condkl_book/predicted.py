"""The predictions as Markdown: the lists of their page, and the verdicts of the results chapter."""

import re
from collections.abc import Mapping

from condkl_studies.predictions import Verdict, predictions

# What a statement's markup becomes where it stands as plain text.
_PLAIN = (
    (r"\{eq\}`eq-(\d)`", r"eq. (\1)"),
    (r"\{cite:\w\}`\w+`", "Burda et al. (2015)"),
    (r"\\tfrac12", "½"),
    (r"\\given", "|"),
    (r"\\lambda", "λ"),
    (r"\\theta", "θ"),
    (r"\\phi", "φ"),
    (r"\$|\*\*", ""),
    (r" \| ", "|"),
)


def statements(section: str) -> str:
    """The predictions of a module of `condkl_studies.predictions` with their reasons, as a numbered list.

    Raises:
        ValueError: if it has none.

    Example:
        >>> statements("rates").startswith("32. **No rate brings the layer back.**")
        True
    """
    found = [f"{one.number}. {one.text}" for one in predictions() if one.section == section]
    if not found:
        raise ValueError(f"section: expected one with predictions, got {section!r}.")
    return "\n".join(found)


def sentence(number: int, verdict: Verdict) -> str:
    """The verdict on a prediction.

    Example:
        >>> sentence(2, Verdict(True, "A is 5 nats."))
        '**Prediction 2 held:** A is 5 nats.'
    """
    return f"**Prediction {number} {verdict}:** {verdict.evidence}"


def table(judged: Mapping[int, Verdict]) -> str:
    """All predictions, without their reasons, with what was found."""
    rows = ["| no. | prediction | verdict | what was found |", "|---|---|---|---|"]
    for one in predictions():
        found = judged[one.number].evidence
        if not found.startswith("p("):
            found = found[0].upper() + found[1:]
        cells = (str(one.number), plain(one.statement), str(judged[one.number]), found)
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


def filed(kind: str) -> str:
    """What had shown each prediction that is `foreshadowed`, or why the bound of each that is `loose` says little."""
    found = {one.number: getattr(one, kind) for one in predictions()}
    return "\n".join(f"- **{number}:** {why}" for number, why in found.items() if why)


def plain(statement: str) -> str:
    r"""A statement without its markup.

    Example:
        >>> plain(r"**With $p(x \given u)$, {eq}`eq-9` loses it.** $\lambda = \tfrac12$ does too.")
        'With p(x|u), eq. (9) loses it. λ = ½ does too.'
    """
    for markup, text in _PLAIN:
        statement = re.sub(markup, text, statement)
    return statement.strip()
