"""What was expected of the studies, written down before their runs, and whether it held.

Each module of this package has the predictions of a section of their page, each a function under `predicts`. Its
docstring is the statement as it was committed, in Markdown. Its parameters say what it is judged by: `main` stands for
`results.frame("main")`, `main_curves` for `results.curves("main")`, and `evidence` for `tables.true_evidence()`. It
returns whether the statement holds, as a `Margin` where it has a distance to its bound, and what was found, in words.
A statement is never changed once a run exists of a study that it is judged by.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from pandas import DataFrame, Series

from condkl import _modules
from condkl_studies import plans, results, store, tables
from condkl_studies.margins import Margin
from condkl_studies.results import Interval, minus

Judged = tuple[bool | np.bool | Margin, str]
Judge = Callable[..., Judged]
DECODERS = PLAIN, SKIP = "p(x|u)", "p(x|u,v)"


@dataclass(frozen=True)
class Verdict:
    """Whether a prediction held, None while runs are missing, and what was found, in words."""

    held: bool | None
    evidence: str
    margin: float | None = None  #: how far from its bound, above zero where it held; None where that is no number

    def __str__(self) -> str:
        return "open" if self.held is None else "held" if self.held else "failed"


@dataclass(frozen=True)
class Prediction:
    """A statement with a bound that recorded numbers either meet or do not."""

    number: int  #: on the page and in the text
    judge: Judge
    section: str  #: the name of its module
    text: str  #: statement and reason, as the page has them
    statement: str  #: the text without its reason
    reason: str  #: why it was expected, or ""
    date: str  #: of the commit that brought it
    commit: str  #: its first digits, or "" where it has no name yet
    foreshadowed: str  #: what had shown it before it was written down, or ""
    loose: str  #: why its bound could hardly be missed, or ""
    reads: tuple[str, ...]  #: the names of the tables that it is judged by

    @property
    def studies(self) -> list[str]:
        """The names of the studies behind its tables."""
        return list(dict.fromkeys(name.removesuffix("_curves") for name in self.reads if name != "evidence"))

    def verdict(self, read: Mapping[str, DataFrame]) -> Verdict:
        """Judge it by tables of these names."""
        held, evidence = self.judge(**{name: read[name] for name in self.reads})
        return Verdict(bool(held), evidence, held.size if isinstance(held, Margin) else None)


def written(date: str, commit: str = "") -> Callable[..., Callable[[Judge], Prediction]]:
    """A decorator that makes a function a prediction of this date and commit."""

    def predicts(number: int, *, foreshadowed: str = "", loose: str = "") -> Callable[[Judge], Prediction]:
        def made(judge: Judge) -> Prediction:
            section, text = judge.__module__.rpartition(".")[2], " ".join((judge.__doc__ or "").split())
            statement, _, reason = text.partition(" *Reason:* ")
            reads = tuple(inspect.signature(judge).parameters)
            return Prediction(number, judge, section, text, statement, reason, date, commit, foreshadowed, loose, reads)

        return made

    return predicts


def predictions() -> list[Prediction]:
    """All predictions, by number."""
    modules = [_modules.module(__name__, name) for name in _modules.names(__name__)]
    found = [one for module in modules for one in vars(module).values() if isinstance(one, Prediction)]
    return sorted(found, key=lambda one: one.number)


def verdicts() -> dict[int, Verdict]:
    """All predictions judged by the records, by number; a missing record leaves its predictions open."""
    read, lacking, found = cache(_table), cache(_missing), {}  # each table and study once
    for one in predictions():
        missing = " ".join(filter(None, map(lacking, one.studies)))
        found[one.number] = Verdict(None, missing) if missing else one.verdict({name: read(name) for name in one.reads})
    return found


def tally(judged: Mapping[int, Verdict]) -> dict[str, list[int]]:
    """The numbers of the predictions by verdict, "held", "failed" and "open", and by filing.

    The filings are "foreshadowed", "loose", and "risky": those that held and are neither.
    """
    by = {word: [n for n, verdict in judged.items() if str(verdict) == word] for word in ("held", "failed", "open")}
    for kind in ("foreshadowed", "loose"):
        by[kind] = [one.number for one in predictions() if one.number in judged and getattr(one, kind)]
    return by | {"risky": [n for n in by["held"] if n not in by["foreshadowed"] + by["loose"]]}


def gaps(table: DataFrame, column: str, method: str, **settings: str) -> tuple[Interval, Interval]:
    """The paired differences of a method from the full gradient with p(x|u) and with p(x|u,v)."""
    plain, skip = (minus(table, column, method, decoder=decoder, **settings) for decoder in DECODERS)
    return plain, skip


def span(values: Series) -> str:
    """The least and the largest value, in words: "less than 0.001 to 2"."""
    low, high = ("less than 0.001" if 0 < end < 1e-3 else f"{end:.3g}" for end in (values.min(), values.max()))
    return (low if low == high else f"{low} to {high}").replace("-", "−")


def each(found: Mapping[str, object], spec: str = "") -> str:
    """What was found under each name, in words."""
    return "; ".join(f"{name} {format(value, spec)}" for name, value in found.items())


def _missing(study: str) -> str:
    """How many runs of a study are recorded, in words, if not all are."""
    configs = plans.study(study).configs
    recorded = len(store.recorded(study, configs))
    return "" if recorded == len(configs) else f"{recorded} of {len(configs)} runs of {study} are recorded."


def _table(name: str) -> DataFrame:
    if name == "evidence":
        return tables.true_evidence()
    return results.curves(name.removesuffix("_curves")) if name.endswith("_curves") else results.frame(name)
