"""What the laps say: rates, ratios, what was needed, and the record."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from benchmarks.contest import Lap
from benchmarks.contestants import CONTESTANTS, EAGER, OURS, PYRO, YARDSTICK, Entry

NEEDED = {EAGER: 1.7, PYRO: 2.2}  # two workers: our rate over theirs, at least
TOO_BUSY = 0.95  # a worker that had its core for a smaller part of its time was disturbed


@dataclass(frozen=True)
class Verdict:
    """Whether a needed ratio, our rate over that of `contestant` with two workers, holds."""

    contestant: str
    needed: float
    ratio: float | None  # the median over the rounds; None if one of the two did not take part
    low: float | None
    high: float | None

    @property
    def held(self) -> bool | None:
        """Whether the median is as large as needed; None if it was not measured."""
        return None if self.ratio is None else self.ratio >= self.needed


def rates(laps: Sequence[Lap]) -> pd.DataFrame:
    """Steps a second of every lap: a row for each round, columns (workers, contestant)."""
    rows = [(lap.round, lap.workers, lap.contestant, lap.rate) for lap in laps]
    frame = pd.DataFrame(rows, columns=["round", "workers", "contestant", "rate"])
    return frame.pivot(index="round", columns=["workers", "contestant"], values="rate")


def summary(laps: Sequence[Lap]) -> pd.DataFrame:
    """For each number of workers and each contestant: `median`, `min` and `max` of its rate, and `ours_over_it`.

    This is the median over the rounds of the ratio within a round, in which both met the same machine, or NaN.
    """
    found = rates(laps)
    ratios = pd.Series({key: _ratios(found, *key).median() for key in found.columns}, dtype=float)
    return found.agg(["median", "min", "max"]).T.assign(ours_over_it=ratios)


def verdicts(laps: Sequence[Lap]) -> list[Verdict]:
    """The needed ratios with two workers."""
    ratios = {name: _ratios(rates(laps), 2, name) for name in NEEDED}
    figures = {name: r.agg(["median", "min", "max"]).tolist() if len(r) else [None] * 3 for name, r in ratios.items()}
    return [Verdict(name, least, *figures[name]) for name, least in NEEDED.items()]


def disturbed(laps: Sequence[Lap]) -> list[Lap]:
    """The laps in which a worker did not have its core to itself."""
    return [lap for lap in laps if lap.cpu_share < TOO_BUSY]


def losses_text(table: pd.DataFrame, entries: Mapping[str, Entry]) -> str:
    """A table of losses, as `contest.compare_losses` gives it, for people."""
    shown = table.rename({name: entry.label for name, entry in entries.items()})
    return shown.to_string(header=["-ELBO, nats", "s.e."], float_format="{:.3f}".format)


def rates_text(table: pd.DataFrame, entries: Mapping[str, Entry], absent: Mapping[str, str]) -> str:
    """The table of rates for people, with a row also for those that could not take part."""
    shown = pd.DataFrame(index=list(entries))
    for workers, part in table.groupby(level=0):
        one = part.droplevel(0)
        middle, low, high = (one[name].map("{:.1f}".format) for name in ("median", "min", "max"))
        shown[f"workers: {workers}"] = middle.reindex(shown.index, fill_value="-")
        shown[f"spread ({workers})"] = low + "-" + high
        shown[f"ours/it ({workers})"] = one["ours_over_it"].map("{:.2f}".format, na_action="ignore")
    shown[""] = pd.Series(absent, dtype=object)
    shown = shown.astype(object).fillna("").rename({name: entry.label for name, entry in entries.items()})
    return f"Steps a second, all workers together: median over the rounds, least to largest.\n{shown.to_string()}"


def verdict_text(verdict: Verdict) -> str:
    """A line on a needed ratio."""
    pair = f"two workers, {CONTESTANTS[OURS].label} / {CONTESTANTS[verdict.contestant].label}"
    if verdict.ratio is None:
        return f"{pair}: needed {verdict.needed}, not measured"
    found = f"{verdict.ratio:.2f} (rounds {verdict.low:.2f} to {verdict.high:.2f})"
    return f"{pair}: {found}, needed {verdict.needed}: {'held' if verdict.held else 'NOT HELD'}"


def yardstick_text(table: pd.DataFrame, flops: int) -> str:
    """A line on the rate of matrix products, and how much of it our step reaches; empty if it was not measured."""
    median = table["median"].to_dict()
    if not (limit := median.get((1, YARDSTICK))):
        return ""
    reached = f"; ours reaches {median[1, OURS] / limit:.0%} of that" if (1, OURS) in median else ""
    allowed = f"the products of a step, {flops / 1e9:.3f} GFLOP, would allow {limit:.0f} steps/s"
    return f"sgemm, one thread: {limit * flops / 1e9:.1f} GFLOP/s; {allowed}{reached}"


def record(table: pd.DataFrame, laps: Sequence[Lap], given: Sequence[Verdict]) -> dict[str, Any]:
    """The parts of the record that follow from the laps, and the laps themselves, as JSON takes them."""
    known = table.astype(object).where(table.notna(), None)  # JSON has no NaN
    return {
        "summary": known.reset_index(names=["workers", "contestant"]).to_dict("records"),
        "needed": [asdict(verdict) | {"held": verdict.held} for verdict in given],
        "laps": [asdict(lap) for lap in laps],
    }


def file_name(processor: str) -> str:
    """A file name for the record of a kind of machine.

    Example:
        >>> file_name("AMD EPYC (7B13) @ 2.45GHz").startswith("amd-epyc-7b13-2-45ghz-")
        True
    """
    return f"{'-'.join([*re.findall(r'[a-z0-9]+', processor.lower()), str(os.cpu_count()), 'cores'])}.json"


def _ratios(found: pd.DataFrame, workers: int, name: str) -> pd.Series:
    """Our rate over that of `name` in each round; empty where one of them did not take part."""
    if (workers, OURS) not in found or (workers, name) not in found:
        return pd.Series(dtype=float)
    return found[workers, OURS] / found[workers, name]
