"""The ledger: every numerical check of an equation asserts, and leaves a record that the ledger page collects."""

import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

#: The type of a check's record among the outputs of a notebook.
MIME = "application/vnd.condkl.check+json"
#: The numbers of the source's equations.
EQUATIONS = tuple(str(n) for n in range(1, 10))


@dataclass(frozen=True)
class Check:
    """One comparison of an equation with an oracle.

    Attributes:
        eq: the equation's number in the source, or the name of a proposition.
        oracle: how the wanted value was found. Two names stand for two ways that share no code.
        deviation: the largest absolute difference between what came and what was wanted.
        tol: the largest deviation allowed: rounding, or a sampling error that was computed.
        passed: deviation <= tol.

    Example:
        >>> print(Check("3", "by hand", deviation=0.1, tol=0.0, passed=False)._repr_mimebundle_()["text/plain"])
        FAILED: eq. (3) against by hand: deviation 0.1, allowed 0
    """

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
        record = {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(self).items()}
        return {MIME: record, "text/html": html, "text/plain": text}


@dataclass(frozen=True)
class LedgerRow:
    """What is known of one equation: where it is derived, by which oracles, and how far off the worst check was.

    Attributes:
        equation: its number or name.
        chapter: the chapter that derives it, as a file name without suffix; None if none does yet.
        oracles: the different oracles, in the order of their first use.
        checks: how many checks were made.
        largest_deviation: over all checks (nan without any).
        worst: the largest deviation as a share of the one allowed (nan without any).
        passed: whether every check passed.
        status: "checked", "gap" (fewer than two oracles), "failed" or "not yet derived".
    """

    equation: str
    chapter: str | None
    oracles: list[str]
    checks: int
    largest_deviation: float
    worst: float
    passed: bool
    status: str


@dataclass(frozen=True)
class Ledger:
    """The rows of all equations, and what is missing in words."""

    rows: list[LedgerRow]
    gaps: list[str] = field(default_factory=list)


def check(eq: int | str, oracle: str, got: Tensor | ArrayLike, want: Tensor | ArrayLike, tol: float | Tensor) -> None:
    """Assert `|got - want| <= tol` everywhere, and record it in the notebook's output for the ledger page.

    Args:
        eq: the equation's number in the source (1 to 9), or the name of a proposition.
        oracle: how `want` (or `got`) was found apart from the equation, e.g. "enumeration" or "quadrature".
        got, want: numbers of the same shape; equal infinities agree.
        tol: the largest deviation allowed: rounding, or a sampling error that was computed. Not negative.

    Raises:
        AssertionError: if the deviation is above `tol` or a number is NaN.
        ValueError: if the shapes differ, there is nothing to compare, or a name or tolerance makes no sense.

    Example:
        >>> check(eq=3, oracle="arithmetic", got=0.5 + 0.25, want=0.75, tol=0.0)
        checked: eq. (3) against arithmetic: deviation 0, allowed 0
    """
    name, source, allowed = str(eq).strip(), " ".join(oracle.split()), float(tol)
    if not name or not source:
        raise ValueError(
            f"eq, oracle: expected names, got {eq!r} and {oracle!r}. Say what is checked and against what."
        )
    if not allowed >= 0 or math.isinf(allowed):
        raise ValueError(f"tol: expected a finite number of at least 0, got {allowed!r}.")
    a, b = (_array(x) for x in (got, want))
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"got, want: expected the same shape with at least one number, got {a.shape} and {b.shape}.")
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0.0, np.abs(a - b))
    deviation = float(difference.max())  # NaN if any difference is
    record = Check(name, source, deviation, allowed, bool(deviation <= allowed))
    _show(record)
    if not record.passed:
        raise AssertionError(
            f"eq. ({name}) against {source}: the largest deviation is {deviation:.3g}, allowed {allowed:.3g}. "
            "Either the equation, the code or the oracle is wrong."
        )


def collect(folder: Path) -> Ledger:
    """Read the checks out of the executed notebooks in `folder` and set them beside the equations they derive.

    A chapter derives an equation if its text carries the label `eq-N`. An equation whose chapter exists and that
    has fewer than two oracles, or a failed check, is a gap.

    Args:
        folder: where the executed chapters are; searched without its subfolders.

    Example:
        >>> ledger = collect(Path("a folder without chapters"))
        >>> ledger.rows[8].equation, ledger.rows[8].status, ledger.gaps
        ('9', 'not yet derived', [])
    """
    chapters: dict[str, str] = {}
    checks: dict[str, list[Check]] = {eq: [] for eq in EQUATIONS}
    for path in sorted(Path(folder).glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                chapters |= dict.fromkeys(_labels("".join(cell["source"])), path.stem)
            for record in _records(cell.get("outputs", [])):
                checks.setdefault(record.eq, []).append(record)
                if record.eq not in EQUATIONS:  # a proposition belongs to the chapter that checks it first
                    chapters.setdefault(record.eq, path.stem)
    rows = [_row(eq, chapters.get(eq), made) for eq, made in checks.items()]
    return Ledger(rows, [_complaint(row) for row in rows if row.status in {"gap", "failed"}])


def _labels(text: str) -> list[str]:
    """The numbers N of the equations that a text defines by `:label: eq-N` or `$$ … $$ (eq-N)`."""
    defining = re.findall(r"^\s*:label:\s*eq-(\d+)\s*$|\$\$\s*\(eq-(\d+)\)", text, flags=re.MULTILINE)
    return [a or b for a, b in defining]


def _records(outputs: Sequence[dict[str, Any]]) -> list[Check]:
    found = [output["data"][MIME] for output in outputs if MIME in output.get("data", {})]
    return [Check(**{**r, "deviation": float(r["deviation"]), "tol": float(r["tol"])}) for r in found]


def _row(eq: str, chapter: str | None, made: list[Check]) -> LedgerRow:
    first: dict[str, str] = {}
    for c in made:
        first.setdefault(c.oracle.casefold(), c.oracle)
    oracles = list(first.values())
    passed = all(c.passed for c in made)
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


def _array(value: Tensor | ArrayLike) -> np.ndarray[Any, np.dtype[np.float64]]:
    if isinstance(value, Tensor):
        value = value.detach().to("cpu", torch.float64).numpy()
    return np.asarray(value, dtype=np.float64)


def _show(record: Check) -> None:
    """Into the notebook's output where there is one, else as a line of text."""
    python = sys.modules.get("IPython")  # a notebook has loaded it
    if python is not None and python.get_ipython() is not None:
        python.display.display(record)
    else:
        print(record._repr_mimebundle_()["text/plain"])
