"""Runs as tables: their settings and figures, means with intervals over seeds, and what stands behind each number."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from condkl_studies import plans, store
from condkl_studies.store import RunResult

#: Test log-likelihoods in nats by 5,000 samples, from Burda, Grosse & Salakhutdinov (2015), table 1, VAE, k = 1.
PUBLISHED = {"one layer": -86.76, "two layers": -85.33}
_IMAGES = 1000  # with a likelihood estimate, in every run
Runs = str | Sequence[RunResult]  # the name of a study, or results made here


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its 95% interval from Student's t, mean ± half, of n values in nats or other units."""

    mean: float
    half: float
    n: int

    @property
    def low(self) -> float:
        """The lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The upper end of the interval."""
        return self.mean + self.half

    def __str__(self) -> str:
        return f"{self:.2f}"

    def __format__(self, spec: str) -> str:
        sign, rest = "+" if spec.startswith("+") else "", spec.removeprefix("+")
        return f"{self.mean:{sign}z{rest}} ± {self.half:{rest}}".replace("-", "−")


def interval(values: Sequence[float] | pd.Series) -> Interval:
    """The mean of the values of independent seeds with its 95% interval, t_{0.975, n-1} s / √n on either side.

    Fewer than two values, or one that is not finite, are a ValueError: there is no spread to go by.

    Example:
        >>> print(interval([1.0, 2.0, 3.0]))
        2.00 ± 2.48
    """
    numbers = pd.Series(values, dtype=float)
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"values: expected two finite numbers or more, got {numbers.tolist()}.")
    half = stats.t.ppf(0.975, len(numbers) - 1) * numbers.std() / math.sqrt(len(numbers))
    return Interval(float(numbers.mean()), float(half), len(numbers))


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval for the rate of what happened in k of n independent runs.

    It holds the rates p for which k is within 1.96 standard deviations √(np(1−p)) of its mean np.

    Example:
        >>> print("{:.0%} to {:.0%}".format(*wilson(9, 10)))
        60% to 98%
    """
    found = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def frame(*runs: Runs, partial: bool = False) -> pd.DataFrame:
    """The end of every run of the named studies, all of whose runs are recorded, or of results made here: a row each.

    With `partial`, runs without a record are left out, unless a study has none at all.

    What tells runs apart is `study` (empty for a result made here), `run` (its id), every field of the config, and of
    these `decoder` ("p(x|u)", "p(x|u,v)", "residual" or "one layer"), `method` (the objective, and phi's rate if not
    1) and `epochs`. What stands behind them: `hours`, `processor`, `device`, `commit`, `finished`. On the test images
    `elbo`, `R`, `A`, `C` and `log_likelihood`, a mean of importance-weighted estimates over the same 1,000 images, also
    where a run has more, in nats. The last row of the record's columns on the validation images: `val_elbo`, `val_R`,
    `val_A`, `val_C`, in nats, `active_v`, `active_u`. Runs of models that count have more of `val_`, and the same with
    `test_`. What the records of a run do not have is missing. Where a run may diverge, `diverged_at`
    is the step at which it did; the other figures of such a run are missing.

    A run without a record is a RecordError, which names the command that makes it; an unknown study a ValueError.
    """
    return pd.DataFrame([_origin(study, one) | _end(one) for study, one in _results(runs, partial)])


def curves(*runs: Runs, partial: bool = False) -> pd.DataFrame:
    """The course of every run, a row for each window of each; runs, `partial` and errors are as for `frame`.

    It has the record's columns (see `RunResult.metrics`), those of `frame` up to `finished`, and `epoch`.
    """
    tables = []
    for study, one in _results(runs, partial):
        origin = {name: [value] * len(one.metrics) for name, value in _origin(study, one).items()}
        tables.append(one.metrics.assign(**origin, epoch=one.metrics["step"] / plans.epoch(one.config)))
    return pd.concat(tables, ignore_index=True)


def where(table: pd.DataFrame, **settings: Any) -> pd.DataFrame:
    """The rows that have those settings; a ValueError if there is none."""
    for name, value in settings.items():
        table = table[table[name] == value]
    if table.empty:
        raise ValueError(f"settings: expected those of some row, got {settings}.")
    return table


def paired(table: pd.DataFrame, column: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Interval:
    """The mean over seeds of one setting's value minus the other's, with its 95% interval.

    Runs of one seed share weights, batches and noise; only the seeds that both settings have count. A setting with a
    seed twice, and fewer than two common seeds, are a ValueError.
    """
    values = [where(table, **dict(setting)).set_index("seed")[column] for setting in (one, other)]
    for setting, found in zip((one, other), values, strict=True):
        if not found.index.is_unique:
            raise ValueError(f"settings: expected one run a seed, got several for {dict(setting)}. Add settings.")
    return interval((values[0] - values[1]).dropna())


def minus(table: pd.DataFrame, column: str, method: str, reference: str = "full", **settings: Any) -> Interval:
    """The paired difference of two methods, `paired` with the same settings for both."""
    return paired(table, column, settings | {"method": method}, settings | {"method": reference})


def differences(table: pd.DataFrame, column: str, reference: str = "full") -> pd.DataFrame:
    """The rows of all methods but one, with `difference`: the value minus that of `reference` in the same pair.

    Rows of one decoder, seed and, if there is one, epoch are a pair.
    """
    keys = [name for name in ("decoder", "seed", "epoch") if name in table]
    base = table[table["method"] == reference].set_index(keys)[column]
    others = table[table["method"] != reference].join(base.rename("difference"), on=keys)
    return others.assign(difference=others[column] - others["difference"])


def bands(table: pd.DataFrame, column: str, by: Sequence[str] = ("method",), geometric: bool = False) -> pd.DataFrame:
    """Means over seeds for each epoch with their 95% intervals: `by`, `epoch`, `mean`, `low`, `high`.

    Epochs without the column are left out. Geometric ones are taken of the logarithm, and given without it.
    """
    rows = []
    for key, group in table.dropna(subset=[column]).groupby([*by, "epoch"], sort=False):
        found = interval(np.log10(group[column]) if geometric else group[column])
        ends = np.array([found.mean, found.low, found.high])
        rows.append([*key, *(10**ends if geometric else ends)])
    return pd.DataFrame(rows, columns=[*by, "epoch", "mean", "low", "high"])


def _results(runs: Sequence[Runs], partial: bool) -> Iterator[tuple[str, RunResult]]:
    for group in runs:
        if isinstance(group, str):
            configs = plans.study(group).configs
            kept = store.recorded(group, configs) if partial else []
            yield from ((group, one) for one in store.read_study(group, kept or configs))
        else:
            yield from (("", one) for one in group)


def _origin(study: str, result: RunResult) -> dict[str, Any]:
    config, provenance = result.config, result.provenance
    return {
        "study": study,
        "run": config.id,
        **{name: value for name, value in asdict(config).items() if value is not None},
        "decoder": config.decoder,
        "method": config.method,
        "epochs": config.steps / plans.epoch(config),
        "hours": result.seconds / 3600,
        **{name: provenance["machine"][name] for name in ("processor", "device")},
        **{name: provenance[name] for name in ("commit", "finished")},
    }


def _end(result: RunResult) -> dict[str, Any]:
    if "diverged_at" in result.samples:
        return {"diverged_at": float(result.samples["diverged_at"])}
    last = result.metrics.iloc[-1]
    return {
        **({"diverged_at": math.nan} if result.config.may_diverge else {}),
        **dict(zip(("elbo", "R", "A", "C"), result.samples["test"].tolist(), strict=True)),
        "log_likelihood": _likelihood(result.samples),
        **{name: float(array) for name, array in result.samples.items() if name.startswith("test_")},
        **{name: last[name] for name in last.index if name.startswith(("val_", "active_"))},
    }


def _likelihood(samples: Mapping[str, Any]) -> float:
    if "log_likelihood" not in samples:
        return math.nan
    estimates = samples["log_likelihood"]
    if len(estimates) > _IMAGES:  # all of the test set: take the evenly spaced ones that the engine takes elsewhere
        estimates = estimates[np.linspace(0, len(estimates) - 1, _IMAGES).round().astype(int)]
    return float(estimates.mean())
