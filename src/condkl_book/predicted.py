"""The predictions as Markdown and in a figure: the lists of their page, and the verdicts of the results chapter."""

import math
import re
from collections.abc import Mapping
from itertools import groupby

import matplotlib.pyplot as plt
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from condkl_book.style import COLOURS
from condkl_studies.predictions import Prediction, Verdict, predictions

_LINK = re.compile(r"\[(\d+)\]\(\w+\.ipynb\)")  # a statement's link to a chapter, which has had other names since
_FARTHEST = 30.0  # where the axis ends; what has no number stands there too, hollow
_MARKS = {"held": ("o", COLOURS["full"]), "failed": ("X", COLOURS["modified"]), "open": ("D", COLOURS["muted"])}
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
    """The verdict on a prediction, what it said, and what was found."""
    said = next(plain(one.statement) for one in predictions() if one.number == number)
    return f"**Prediction {number} {verdict}.** {said} *Found:* {verdict.evidence}"


def show(judged: Mapping[int, Verdict], *numbers: int) -> None:
    """Display what became of predictions, in a notebook."""
    for number in numbers:
        display(Markdown(sentence(number, judged[number])))


def table(judged: Mapping[int, Verdict]) -> str:
    """All predictions, without their reasons, with what was found."""
    rows = ["| no. | prediction | verdict | what was found |", "|---|---|---|---|"]
    for one in predictions():
        found = judged[one.number].evidence
        found = found if found.startswith("p(") else found[0].upper() + found[1:]
        cells = (str(one.number), plain(one.statement), str(judged[one.number]), found)
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(rows)


def plot(judged: Mapping[int, Verdict]) -> Figure:
    """Each prediction as a dot against its bound: at its margin, in the units of `Verdict.margin`, by study.

    Right of the line it held. One whose bound is no number stands hollow at the end of its side, and an open one hollow
    on the line. The axis is linear up to 1 on each side, and logarithmic from there.
    """
    sections = [list(group) for _, group in groupby(predictions(), key=lambda one: one.section)]
    rows: list[str | Prediction] = []
    for group in sections:  # a line for the name of each
        rows += [group[0].section, *group]
    middle = next(k for k, row in enumerate(rows) if isinstance(row, str) and k >= len(rows) // 2 - 3)
    columns = rows[:middle], rows[middle:]
    size = 8.0, 0.2 * max(map(len, columns)) + 0.9
    figure, axes = plt.subplots(1, 2, figsize=size)
    for axis, column in zip(axes, columns, strict=True):
        _column(axis, column, judged)
    marks = [Line2D([], [], marker=mark, color=colour, ls="", label=word) for word, (mark, colour) in _MARKS.items()]
    figure.legend(handles=marks, loc="outside upper center", ncols=3)
    return figure


def _column(axis: Axes, rows: list[str | Prediction], judged: Mapping[int, Verdict]) -> None:
    """Draw some of the predictions, from the top."""
    axis.axvline(0, color=COLOURS["exact"], lw=1)
    for k, row in enumerate(rows):
        if isinstance(row, str):
            axis.text(0.02, k, row.replace("_", " "), transform=axis.get_yaxis_transform(), va="center", size="small")
            continue
        found = judged[row.number]
        mark, colour = _MARKS[str(found)]
        known = found.margin is not None and math.isfinite(found.margin)
        end = 0.0 if found.held is None else _FARTHEST if found.held else -_FARTHEST
        at = max(-_FARTHEST, min(_FARTHEST, found.margin)) if known and found.margin is not None else end
        axis.plot([at], [k], mark, color=colour, mfc=colour if known else "white", label=f"{row.number}, {found}")
    numbered = {k: str(row.number) for k, row in enumerate(rows) if isinstance(row, Prediction)}
    axis.set_yticks(list(numbered), list(numbered.values()), size="x-small")
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xscale("symlog", linthresh=1, linscale=1.5)
    ticks = {-10: "−10", -1: "−1", 0: "bound", 1: "1", 10: "10"}
    axis.set(xlim=(-1.6 * _FARTHEST, 1.6 * _FARTHEST), xlabel="distance to the bound")
    axis.set_xticks(list(ticks), list(ticks.values()))
    axis.minorticks_off()


def filed(kind: str) -> str:
    """What had shown each prediction that is `foreshadowed`, or why the bound of each that is `loose` says little."""
    return "\n".join(f"- **{one.number}:** {plain(why)}" for one in predictions() if (why := getattr(one, kind)))


def plain(statement: str) -> str:
    r"""A statement without its markup.

    Example:
        >>> plain(r"**With $p(x \given u)$, {eq}`eq-9` loses it.** $\lambda = \tfrac12$ does too.")
        'With p(x|u), eq. (9) loses it. λ = ½ does too.'
    """
    for markup, text in _PLAIN:
        statement = re.sub(markup, text, statement)
    return statement.strip()
