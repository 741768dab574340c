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
    """Whether a needed ratio holds.

    Attributes:
        contestant: its name.
        needed: our rate over its rate with two workers, at least.
        ratio: the median over the rounds; None if one of the two did not take part.
        low, high: the least and the largest ratio of a round.
    """

    contestant: str
    needed: float
    ratio: float | None
    low: float | None
    high: float | None

    @property
    def held(self) -> bool | None:
        """Whether the median is as large as needed; None if it was not measured."""
        return None if self.ratio is None else self.ratio >= self.needed


def rates(laps: Sequence[Lap]) -> pd.DataFrame:
    """Steps a second of every lap: a row for each round, columns (workers, contestant).

    Example:
        >>> laps = [Lap(0, "ours", 2, 500, 2.0, 1.0), Lap(0, "eager", 2, 500, 4.0, 0.9)]
        >>> rates(laps).loc[0, (2, "ours")].item()
        500.0
    """
    rows = [(lap.round, lap.workers, lap.contestant, lap.rate) for lap in laps]
    frame = pd.DataFrame(rows, columns=["round", "workers", "contestant", "rate"])
    return frame.pivot(index="round", columns=["workers", "contestant"], values="rate")


def summary(laps: Sequence[Lap]) -> pd.DataFrame:
    """For each number of workers and each contestant: `median`, `min` and `max` of its rate, and `ours_over_it`.

    The ratio is the median over the rounds of the ratio within a round, in which both met the same machine. It is
    missing where ours did not take part.

    Example:
        >>> laps = [Lap(0, "ours", 2, 500, 2.0, 1.0), Lap(0, "eager", 2, 500, 4.0, 0.9)]
        >>> summary(laps).loc[(2, "eager"), ["median", "ours_over_it"]].tolist()
        [250.0, 2.0]
    """
    found = rates(laps)
    table = found.agg(["median", "min", "max"]).T
    table["ours_over_it"] = pd.Series({key: _ratios(found, *key).median() for key in found.columns}, dtype=float)
    return table


def verdicts(laps: Sequence[Lap], needed: Mapping[str, float] | None = None) -> list[Verdict]:
    """The needed ratios with two workers.

    Example:
        >>> laps = [Lap(0, "ours", 2, 500, 2.0, 1.0), Lap(0, "eager", 2, 500, 4.0, 0.9)]
        >>> [(verdict.ratio, verdict.held) for verdict in verdicts(laps, {"eager": 1.7})]
        [(2.0, True)]
    """
    found, given = rates(laps), []
    for name, least in (NEEDED if needed is None else needed).items():
        ratios = _ratios(found, 2, name)
        figures = (float(ratios.median()), float(ratios.min()), float(ratios.max())) if len(ratios) else (None,) * 3
        given.append(Verdict(name, least, *figures))
    return given


def disturbed(laps: Sequence[Lap]) -> list[Lap]:
    """The laps in which a worker did not have its core to itself.

    Example:
        >>> laps = [Lap(0, "ours", 2, 500, 2.0, 1.0), Lap(0, "eager", 2, 500, 4.0, 0.9)]
        >>> [lap.contestant for lap in disturbed(laps)]
        ['eager']
    """
    return [lap for lap in laps if lap.cpu_share < TOO_BUSY]


def losses_text(table: pd.DataFrame, entries: Mapping[str, Entry]) -> str:
    """A table of losses, as `contest.compare_losses` gives it, for people.

    Example:
        >>> table = pd.DataFrame({"loss": [543.2], "standard_error": [0.2]}, index=["ours"])
        >>> print(losses_text(table, CONTESTANTS))
                          -ELBO, nats  s.e.
        condkl, compiled        543.2   0.2
    """
    shown = table.rename(index={name: entry.label for name, entry in entries.items()}).round(3)
    shown.columns = pd.Index(["-ELBO, nats", "s.e."])
    return shown.to_string()


def rates_text(table: pd.DataFrame, entries: Mapping[str, Entry], absent: Mapping[str, str]) -> str:
    """The table of rates for people, with a row also for those that could not take part.

    Example:
        >>> laps = [Lap(0, "ours", 2, 500, 2.0, 1.0)]
        >>> two = {name: CONTESTANTS[name] for name in ("ours", "pyro")}
        >>> print(rates_text(summary(laps), two, {"pyro": "not installed"}).splitlines()[-1])
        Pyro                     -                           not installed
    """
    sizes = sorted(set(table.index.get_level_values(0)))
    rows = {entry.label: _row(table, name, sizes, absent.get(name, "")) for name, entry in entries.items()}
    columns = [text for n in sizes for text in (f"{n} worker{'s' * (n > 1)}", f"spread ({n})", f"ours/it ({n})")]
    shown = pd.DataFrame.from_dict(rows, orient="index", columns=[*columns, ""])
    return f"Steps a second, all workers together: median over the rounds, least to largest.\n{shown.to_string()}"


def verdict_text(verdict: Verdict) -> str:
    """A line on a needed ratio.

    Example:
        >>> print(verdict_text(Verdict("eager", needed=1.7, ratio=2.0, low=1.9, high=2.1)))
        two workers, condkl, compiled / plain PyTorch: 2.00 (rounds 1.90 to 2.10), needed 1.7: held
    """
    pair = f"two workers, {CONTESTANTS[OURS].label} / {CONTESTANTS[verdict.contestant].label}"
    if verdict.ratio is None:
        return f"{pair}: needed {verdict.needed}, not measured"
    return (
        f"{pair}: {verdict.ratio:.2f} (rounds {verdict.low:.2f} to {verdict.high:.2f}), needed {verdict.needed}: "
        f"{'held' if verdict.held else 'NOT HELD'}"
    )


def yardstick_text(table: pd.DataFrame, flops: int) -> str:
    """A line on the rate of matrix products, and how much of it our step reaches; empty if it was not measured.

    Example:
        >>> laps = [Lap(0, "ours", 1, 500, 2.0, 1.0), Lap(0, "sgemm", 1, 500, 1.0, 1.0)]
        >>> yardstick_text(summary(laps), flops=2_000_000).split("; ")[0]
        'sgemm, one thread: 1.0 GFLOP/s'
    """
    if (1, YARDSTICK) not in table.index:
        return ""
    limit = table["median"][1, YARDSTICK]
    reached = f"; ours reaches {table['median'][1, OURS] / limit:.0%} of that" if (1, OURS) in table.index else ""
    return (
        f"sgemm, one thread: {limit * flops / 1e9:.1f} GFLOP/s; the products of a step, {flops / 1e9:.3f} GFLOP, "
        f"would allow {limit:.0f} steps/s{reached}"
    )


def record(table: pd.DataFrame, laps: Sequence[Lap], given: Sequence[Verdict]) -> dict[str, Any]:
    """The parts of the record that follow from the laps, and the laps themselves, as JSON takes them.

    Example:
        >>> laps = [Lap(0, "ours", 2, 500, 2.0, 1.0), Lap(0, "eager", 2, 500, 4.0, 0.9)]
        >>> [entry["contestant"] for entry in record(summary(laps), laps, [])["summary"]]
        ['ours', 'eager']
    """
    summaries = [
        {"workers": int(workers), "contestant": name} | {key: _number(value) for key, value in row.items()}
        for (workers, name), row in zip(table.index, table.to_dict("records"), strict=True)
    ]
    needed = [asdict(verdict) | {"held": verdict.held} for verdict in given]
    return {"summary": summaries, "needed": needed, "laps": [asdict(lap) for lap in laps]}


def file_name(processor: str) -> str:
    """A file name for the record of a kind of machine.

    Example:
        >>> file_name("AMD EPYC (7B13) @ 2.45GHz").startswith("amd-epyc-7b13-2-45ghz-")
        True
    """
    words = re.findall(r"[a-z0-9]+", processor.lower())
    return f"{'-'.join([*words, str(os.cpu_count()), 'cores'])}.json"


def _ratios(found: pd.DataFrame, workers: int, name: str) -> pd.Series:
    """Our rate over that of `name` in each round; empty where one of them did not take part."""
    if (workers, OURS) not in found or (workers, name) not in found:
        return pd.Series(dtype=float)
    return found[workers, OURS] / found[workers, name]


def _row(table: pd.DataFrame, name: str, sizes: Sequence[int], note: str) -> list[str]:
    cells: list[str] = []
    for key in ((size, name) for size in sizes):
        if key in table.index:
            median, low, high, ratio = (float(value) for value in table.loc[[key]].to_numpy()[0])
            cells += [f"{median:.1f}", f"{low:.1f}-{high:.1f}", "" if pd.isna(ratio) else f"{ratio:.2f}"]
        else:
            cells += ["-", "", ""]
    return [*cells, note]


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
