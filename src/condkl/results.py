"""Recorded runs as tables: their figures, means with intervals over seeds, and what stands behind each number."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
import torch
from scipy import stats

from condkl.studies import store
from condkl.studies.engine import RunResult
from condkl.studies.plans import EPOCH, STUDIES

#: Test log-likelihoods in nats by 5,000 samples, from Burda, Grosse & Salakhutdinov (2015), table 1, VAE, k = 1.
PUBLISHED = {"one layer": -86.76, "two layers": -85.33}
_LEVEL = 0.95
_IMAGES = 1000  # with a likelihood estimate, in every run


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95% interval from Student's t: mean ± half, from n values in nats or other units.

    Attributes:
        mean: of the values.
        half: half the interval's width.
        n: how many values.
    """

    mean: float
    half: float
    n: int

    @property
    def low(self) -> float:
        """The lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.mean + self.half

    def __str__(self) -> str:
        return f"{self:.2f}"

    def __format__(self, spec: str) -> str:
        sign, rest = "+" if spec.startswith("+") else "", spec.removeprefix("+")
        return f"{self.mean:{sign}z{rest}} ± {self.half:{rest}}".replace("-", "−")


def interval(values: Sequence[float] | pd.Series) -> Interval:
    """The mean of the values of independent seeds with its 95% interval, t_{0.975, n-1} s / √n on either side.

    Raises:
        ValueError: with fewer than two values, or one that is not finite: there is no spread to go by.

    Example:
        >>> print(interval([1.0, 2.0, 3.0]))
        2.00 ± 2.48
    """
    numbers = pd.Series(values, dtype=float)
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"values: expected two finite numbers or more, got {numbers.tolist()}.")
    t = stats.t.ppf(0.5 + _LEVEL / 2, len(numbers) - 1)
    return Interval(float(numbers.mean()), float(t * numbers.std() / math.sqrt(len(numbers))), len(numbers))


def runs(*studies: str) -> pd.DataFrame:
    """The end of every recorded run of those studies, a row each.

    Returns:
        Columns that tell runs apart, `study`, `run` (its id), `way` (the objective, or "fast_phi"), `decoder`
        ("p(x|u)", "p(x|u,v)" or "one layer"), `data`, `seed`, `epochs`. What stands behind them: `hours`, `processor`,
        `device`, `commit`, `sources` (a hash), `finished`. On the test images `elbo`, `R`, `A`, `C` and
        `log_likelihood`, a mean of importance-weighted estimates over the same 1,000 images, also where a run has more,
        in nats. On the validation images `val_elbo`, `val_R`, `val_A`, `val_C`, in nats, `active_v`, `active_u`.

    Raises:
        RecordError: if a run has no record; the message names the command that makes it.
        KeyError: if there is no such study.
    """
    return pd.DataFrame([_row(study, record) for study, record in _records(studies)])


def curves(*studies: str) -> pd.DataFrame:
    """The course of every recorded run of those studies, a row for each epoch of each run.

    Returns:
        The columns of `runs` up to `finished`, then `epoch`, and the record's columns (see `RunResult.metrics`).

    Raises:
        RecordError, KeyError: as for `runs`.
    """
    tables = [
        record.metrics.assign(**_origin(study, record), epoch=record.metrics["step"] / EPOCH)
        for study, record in _records(studies)
    ]
    return pd.concat(tables, ignore_index=True)


def where(table: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    """The rows that have those settings.

    Raises:
        ValueError: if there is none.

    Example:
        >>> table = pd.DataFrame({"way": ["full", "modified"], "seed": [0, 0], "elbo": [-90.0, -91.5]})
        >>> where(table, way="modified")["elbo"].item()
        -91.5
    """
    chosen = table
    for name, value in settings.items():
        chosen = chosen[chosen[name] == value]
    if chosen.empty:
        raise ValueError(f"settings: expected those of some row, got {settings}.")
    return chosen


def paired(table: pd.DataFrame, column: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Interval:
    """The mean over seeds of one setting's value minus the other's, with its 95% interval.

    Runs of one seed share weights, batches and noise.

    Args:
        table: as `runs` gives it.
        column: of the table.
        one, other: settings, as `where` takes them. Only the seeds that both have count.

    Raises:
        ValueError: if a setting has a seed twice, or fewer than two seeds are common.

    Example:
        >>> table = pd.DataFrame({"way": ["full", "full", "modified", "modified"], "seed": [0, 1, 0, 1],
        ...                       "elbo": [-90.0, -91.0, -91.5, -92.5]})
        >>> print(paired(table, "elbo", {"way": "modified"}, {"way": "full"}))  # seeds differ, their differences do not
        −1.50 ± 0.00
    """
    values = [where(table, **dict(setting)).set_index("seed")[column] for setting in (one, other)]
    for setting, found in zip((one, other), values, strict=True):
        if not found.index.is_unique:
            raise ValueError(f"settings: expected one run a seed, got several for {dict(setting)}. Add settings.")
    return interval((values[0] - values[1]).dropna())


def bands(table: pd.DataFrame, column: str, by: Sequence[str] = ("way",)) -> pd.DataFrame:
    """Means over seeds for each epoch with their 95% intervals: `by`, `epoch`, `mean`, `low`, `high`.

    Args:
        table: as `curves` gives it.
        column: of the table; epochs without it are left out.
        by: the settings that keep curves apart.

    Example:
        >>> table = pd.DataFrame({"way": "full", "epoch": 1.0, "val_elbo": [-101.0, -102.0, -103.0]})
        >>> bands(table, "val_elbo").round(2).values.tolist()
        [['full', 1.0, -102.0, -104.48, -99.52]]
    """
    rows = []
    for key, group in table.dropna(subset=[column]).groupby([*by, "epoch"], sort=False):
        found = interval(group[column])
        rows.append([*(key if isinstance(key, tuple) else (key,)), found.mean, found.low, found.high])
    return pd.DataFrame(rows, columns=[*by, "epoch", "mean", "low", "high"])


@dataclass(frozen=True)
class Source:
    """What stands behind a figure or a table, for people: shown under it, with its data to take away.

    Attributes:
        data: the numbers shown.
        name: of the file to save them to, without suffix.
        runs: rows of `runs`, one for each run that the numbers come from.
    """

    data: pd.DataFrame
    name: str
    runs: pd.DataFrame

    def __str__(self) -> str:
        seeds = sorted(set(self.runs["seed"]))
        span = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
        places = ", ".join(sorted(set(self.runs["processor"] + " (" + self.runs["device"] + ")")))
        names = ", ".join(dict.fromkeys(self.runs["study"]))
        return (
            f"{len(self.runs)} recorded run{'s' * (len(self.runs) > 1)} of {names}, {span}, on {places}, "
            f"{self.runs['hours'].sum():.1f} hours in all"
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        csv = base64.b64encode(self.data.to_csv(index=False, float_format="%.6g").encode()).decode()
        link = f'<a download="{self.name}.csv" href="data:text/csv;base64,{csv}">Data of this figure or table (CSV)</a>'
        folders = "".join(
            f"<p>Folders in <code>data/runs/{study}</code>: {_short(group['run'])}</p>"
            for study, group in self.runs.groupby("study", sort=False)
        )
        text = f"Source: {self}."
        html = (
            f'<div class="source"><details><summary>{escape(text)}</summary>{folders}'
            f"<p>Trained from the sources at commit {_short(self.runs['commit'])}</p></details><p>{link}</p></div>"
        )
        return {"text/html": html, "text/plain": text}


def source(data: pd.DataFrame, name: str, table: pd.DataFrame) -> Source:
    """What stands behind `data`: the runs in `table`, which may have several rows for each.

    Args:
        data: the numbers shown.
        name: a file's name without suffix.
        table: rows of `runs` or of `curves`.

    Example:
        >>> table = pd.DataFrame({"run": ["4f1a", "9c02"], "study": "main", "seed": [0, 1], "hours": 0.5,
        ...                       "processor": "a processor", "device": "cpu"})
        >>> print(source(pd.DataFrame({"elbo": [-90.0]}), "a-figure", table))
        2 recorded runs of main, seeds 0 to 1, on a processor (cpu), 1.0 hours in all
    """
    return Source(data, name, table.drop_duplicates("run"))


def _short(names: pd.Series) -> str:
    """The first digits of each name once, as HTML."""
    return " ".join(f"<code>{name[:8]}</code>" for name in dict.fromkeys(names.astype(str)))


def _records(studies: Sequence[str]) -> list[tuple[str, RunResult]]:
    return [(study, record) for study in studies for record in store.read_study(study, STUDIES[study])]


def _origin(study: str, record: RunResult) -> dict[str, Any]:
    config, provenance = record.config, record.provenance
    return {
        "study": study,
        "run": config.id,
        "way": config.objective if config.phi_rate == 1 else "fast_phi",
        "decoder": "one layer" if len(config.latents) == 1 else "p(x|u,v)" if config.skip else "p(x|u)",
        "data": config.data,
        "seed": config.seed,
        "epochs": config.steps / EPOCH,
        "hours": sum(provenance["seconds"].values()) / 3600,
        "processor": provenance["machine"]["processor"],
        "device": provenance["machine"]["device"],
        "commit": provenance["commit"],
        "sources": provenance["sources"],
        "finished": provenance["finished"],
    }


def _row(study: str, record: RunResult) -> dict[str, Any]:
    samples = record.samples
    last = record.metrics.iloc[-1]
    return {
        **_origin(study, record),
        **dict(zip(("elbo", "R", "A", "C"), samples["test"].tolist(), strict=True)),
        "log_likelihood": _likelihood(samples),
        **{name: last[name] for name in last.index if name.startswith(("val_", "active_"))},
    }


def _likelihood(samples: Mapping[str, Any]) -> float:
    if "log_likelihood" not in samples:
        return math.nan
    estimates = samples["log_likelihood"]
    if len(estimates) > _IMAGES:  # all of the test set: take the evenly spaced ones that the engine takes elsewhere
        estimates = estimates[torch.linspace(0, len(estimates) - 1, _IMAGES).round().long()]
    return float(estimates.mean())
