"""What was expected of the studies, written down before their runs, and whether it held.

Each module of this package has the predictions of a section of their page, each a function under `predicts`. Its
docstring is the statement as it was committed, in Markdown. Its parameters say what it is judged by: `main` stands for
`results.frame("main")`, `main_curves` for `results.curves("main")`, and `evidence` for `tables.true_evidence()`. It
returns whether the statement holds, and what was found, in words. A statement is never changed once a run exists of a
study that it is judged by.
"""

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np
import pandas as pd

from condkl_studies import plans, results, store, tables
from condkl_studies.results import Interval, minus

Judged = tuple[bool | np.bool, str]
Judge = Callable[..., Judged]
DECODERS = PLAIN, SKIP = "p(x|u)", "p(x|u,v)"
_CURVES, _EVIDENCE, _REASON = "_curves", "evidence", " *Reason:* "


@dataclass(frozen=True)
class Verdict:
    """Whether a prediction held, None while runs are missing, and what was found, in words.

    Example:
        >>> print(Verdict(None, "2 of 45 runs of main are recorded."))
        open
    """

    held: bool | None
    evidence: str

    def __str__(self) -> str:
        return "open" if self.held is None else "held" if self.held else "failed"


@dataclass(frozen=True)
class Prediction:
    """A statement with a bound that recorded numbers either meet or do not.

    Attributes:
        number: on the page and in the text.
        judge: the function.
        date: of the commit that brought it.
        commit: its first digits, or "" where it has no name yet.
        foreshadowed: what had shown it before it was written down, or "".
        loose: why its bound could hardly be missed, or "".
    """

    number: int
    judge: Judge
    date: str
    commit: str
    foreshadowed: str
    loose: str

    @property
    def text(self) -> str:
        """Statement and reason, as the page has them."""
        return " ".join((self.judge.__doc__ or "").split())

    @property
    def statement(self) -> str:
        """The text without its reason."""
        return self.text.partition(_REASON)[0]

    @property
    def reason(self) -> str:
        """Why it was expected, or ""."""
        return self.text.partition(_REASON)[2]

    @property
    def section(self) -> str:
        """The name of its module."""
        return self.judge.__module__.rpartition(".")[2]

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the tables that it is judged by."""
        return tuple(inspect.signature(self.judge).parameters)

    @property
    def studies(self) -> list[str]:
        """The names of the studies behind these tables."""
        return list(dict.fromkeys(name.removesuffix(_CURVES) for name in self.reads if name != _EVIDENCE))

    def verdict(self, read: Mapping[str, pd.DataFrame]) -> Verdict:
        """Judge it by tables of these names."""
        held, evidence = self.judge(**{name: read[name] for name in self.reads})
        return Verdict(bool(held), evidence)


def prediction(
    number: int, *, date: str, commit: str = "", foreshadowed: str = "", loose: str = ""
) -> Callable[[Judge], Prediction]:
    """Make a prediction of the function that judges it."""
    return lambda judge: Prediction(number, judge, date, commit, foreshadowed, loose)


def predictions() -> list[Prediction]:
    """All predictions, by number.

    Example:
        >>> predictions()[0].studies
        ['main']
    """
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Prediction)]
    return sorted(found, key=lambda one: one.number)


def verdicts() -> dict[int, Verdict]:
    """All predictions judged by the records, by number.

    Raises:
        RecordError: if a record is broken. One that is missing leaves its predictions open.
    """
    read, found = cache(_table), {}  # each table once
    for one in predictions():
        missing = " ".join(filter(None, map(_missing, one.studies)))
        if missing:
            found[one.number] = Verdict(None, missing)
        else:
            found[one.number] = one.verdict({name: read(name) for name in one.reads})
    return found


def tally(judged: Mapping[int, Verdict]) -> dict[str, list[int]]:
    """The numbers of the predictions by verdict, "held", "failed" and "open", and by filing.

    Filed are the "foreshadowed" and the "loose" ones, and as "risky" those that held and are neither.
    """
    by = {word: [n for n, verdict in judged.items() if str(verdict) == word] for word in ("held", "failed", "open")}
    filed = [one for one in predictions() if one.number in judged]
    by["foreshadowed"] = [one.number for one in filed if one.foreshadowed]
    by["loose"] = [one.number for one in filed if one.loose]
    by["risky"] = [n for n in by["held"] if n not in by["foreshadowed"] + by["loose"]]
    return by


def gaps(table: pd.DataFrame, column: str, method: str, **settings: str) -> tuple[Interval, Interval]:
    """The paired differences of a method from the full gradient with p(x|u) and with p(x|u,v)."""
    plain, skip = (minus(table, column, method, decoder=decoder, **settings) for decoder in DECODERS)
    return plain, skip


def span(values: pd.Series) -> str:
    """The least and the largest value, in words.

    Example:
        >>> span(pd.Series([0.0004, 2.0]))
        'less than 0.001 to 2'
    """
    low, high = ("less than 0.001" if 0 < end < 1e-3 else f"{end:.3g}" for end in (values.min(), values.max()))
    return (low if low == high else f"{low} to {high}").replace("-", "−")


def _missing(study: str) -> str:
    """How many runs of a study are recorded, in words, if not all are."""
    configs = plans.study(study).configs
    recorded = len(store.recorded(study, configs))
    return "" if recorded == len(configs) else f"{recorded} of {len(configs)} runs of {study} are recorded."


def _table(name: str) -> pd.DataFrame:
    if name == _EVIDENCE:
        return tables.true_evidence()
    if name.endswith(_CURVES):
        return results.curves(name.removesuffix(_CURVES))
    return results.frame(name)
