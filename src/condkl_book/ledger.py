"""The ledger: every numerical check of an equation asserts, and leaves a record that the ledger page collects."""

import json
import math
import re
import sys
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

#: The type of a check's record among the outputs of a notebook.
MIME = "application/vnd.condkl.check+json"
#: The numbers of the post's equations.
EQUATIONS = tuple(str(n) for n in range(1, 10))
# A text defines equation N by `:label: eq-N` or `$$ … $$ (eq-N)`.
_LABEL = r"^\s*:label:\s*eq-(\d+)\s*$|\$\$\s*\(eq-(\d+)\)"


class Check(NamedTuple):
    """What `check` found: by how much, at most, an equation or a named proposition differs from an oracle."""

    eq: str
    oracle: str
    deviation: float
    tol: float
    passed: bool

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        text = f"{'checked' if self.passed else 'FAILED'}: eq. ({self.eq}) against {self.oracle}: "
        text += f"deviation {self.deviation:.2g}, allowed {self.tol:.2g}"
        html = f'<p class="ledger-check">{"✓" if self.passed else "✗"} {escape(text)}</p>'
        # JSON has no infinity; the record keeps such numbers as text.
        record = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in self._asdict().items()}
        return {MIME: record, "text/html": html, "text/plain": text}


class LedgerRow(NamedTuple):
    """What is known of one equation: where it is derived, by which oracles, and how far off the worst check was.

    `chapter` is a file name without suffix, None where none derives it; `oracles` are in the order of their first use.
    `largest_deviation`, and the largest as a share of the one allowed, `worst`, are over all checks (nan without any).
    The status is "checked", "gap" (fewer than two oracles), "failed" or "not yet derived".
    """

    equation: str
    chapter: str | None
    oracles: list[str]
    checks: int
    largest_deviation: float
    worst: float
    passed: bool
    status: str


class Ledger(NamedTuple):
    """The rows of all equations, and what is missing in words."""

    rows: list[LedgerRow]
    gaps: list[str]


def check(eq: int | str, oracle: str, got: Tensor | ArrayLike, want: Tensor | ArrayLike, tol: float | Tensor) -> None:
    """Assert `|got - want| <= tol` everywhere, and record it in the notebook's output for the ledger page.

    `eq` is the equation's number in the post (1 to 9), or the name of a proposition; `oracle` says how `want` (or
    `got`) was found apart from the equation, as "enumeration". Both sides have the same shape; equal infinities agree.
    `tol`, not negative, is the largest deviation allowed: rounding, or a sampling error that was computed.

    An AssertionError says that the deviation is above `tol` or that a number is NaN; a ValueError that the shapes
    differ, that there is nothing to compare, or that a name or the tolerance makes no sense.

    Example:
        >>> check(eq=3, oracle="arithmetic", got=0.5 + 0.25, want=0.75, tol=0.0)
        checked: eq. (3) against arithmetic: deviation 0, allowed 0
    """
    name, source, allowed = str(eq).strip(), " ".join(oracle.split()), float(tol)
    if not name or not source:
        raise ValueError(f"eq, oracle: expected names, got {eq!r}, {oracle!r}. Say what is checked and against what.")
    if not allowed >= 0 or math.isinf(allowed):
        raise ValueError(f"tol: expected a finite number of at least 0, got {allowed!r}.")
    sides = (x.detach().to("cpu", torch.float64) if isinstance(x, Tensor) else x for x in (got, want))
    a, b = (np.asarray(side, dtype=np.float64) for side in sides)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"got, want: expected the same shape with at least one number, got {a.shape} and {b.shape}.")
    with np.errstate(invalid="ignore"):
        deviation = float(np.where(a == b, 0.0, np.abs(a - b)).max())  # NaN if any difference is
    record = Check(name, source, deviation, allowed, bool(deviation <= allowed))
    python = sys.modules.get("IPython")  # a notebook has loaded it
    if python is not None and python.get_ipython() is not None:
        python.display.display(record)
    else:
        print(record._repr_mimebundle_()["text/plain"])
    if not record.passed:
        raise AssertionError(
            f"eq. ({name}) against {source}: the largest deviation is {deviation:.3g}, allowed {allowed:.3g}. "
            "Either the equation, the code or the oracle is wrong."
        )


def notebooks(folder: Path) -> list[Path]:
    """The chapters in `folder`, then their companions in its `checks`, which have the names of the chapters."""
    return [*sorted(Path(folder).glob("*.ipynb")), *sorted(Path(folder, "checks").glob("*.ipynb"))]


def cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook; none of one that is not there."""
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"] if notebook.exists() else []


def code_of(notebook: Path) -> list[str]:
    """The sources of the cells of code of a notebook."""
    return ["".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code"]


def made_in(notebook: Path) -> list[Check]:
    """The checks among the outputs of an executed notebook, in their order."""
    found = [output.get("data", {}).get(MIME) for cell in cells(notebook) for output in cell.get("outputs", [])]
    return [Check(**made | {key: float(made[key]) for key in ("deviation", "tol")}) for made in found if made]


def collect(folder: Path) -> Ledger:
    """Read the checks out of the executed `notebooks` of `folder` and set them beside the equations they derive.

    A chapter derives an equation if its text carries the label `eq-N`. An equation whose chapter exists and that
    has fewer than two oracles, or a failed check, is a gap.
    """
    chapters: dict[str, str] = {}
    checks: dict[str, list[Check]] = {eq: [] for eq in EQUATIONS}
    for path in notebooks(folder):
        text = "\n".join("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown")
        chapters |= dict.fromkeys((a or b for a, b in re.findall(_LABEL, text, flags=re.MULTILINE)), path.stem)
        for record in made_in(path):
            checks.setdefault(record.eq, []).append(record)
            if record.eq not in EQUATIONS:  # a proposition belongs to the chapter that checks it first
                chapters.setdefault(record.eq, path.stem)
    rows = [_row(eq, chapters.get(eq), its) for eq, its in checks.items()]
    return Ledger(rows, [_complaint(row) for row in rows if row.status in {"gap", "failed"}])


def _row(eq: str, chapter: str | None, made: list[Check]) -> LedgerRow:
    first: dict[str, str] = {}
    for c in made:
        first.setdefault(c.oracle.casefold(), c.oracle)
    oracles, passed = list(first.values()), all(c.passed for c in made)
    if not passed:
        status = "failed"
    elif chapter is None:  # a check ahead of the derivation is welcome, and proves nothing yet
        status = "not yet derived"
    else:
        status = "checked" if len(oracles) >= 2 else "gap"
    # A deviation of 0 where 0 is allowed uses up none of it.
    shares = [0.0 if c.deviation == 0 else c.deviation / c.tol if c.tol else math.inf for c in made]
    largest = float(np.max([c.deviation for c in made])) if made else math.nan  # NaN if any is
    return LedgerRow(eq, chapter, oracles, len(made), largest, max(shares, default=math.nan), passed, status)


def _complaint(row: LedgerRow) -> str:
    if row.status == "failed":
        return f"eq. ({row.equation}): a check in {row.chapter} failed."
    return (
        f"eq. ({row.equation}) is derived in {row.chapter} but has {len(row.oracles)} oracle(s) "
        f"({', '.join(row.oracles) or 'none'}); two that share no code are needed."
    )
