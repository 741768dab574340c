"""The first window of a recorded run, trained again in seconds on any machine, and set beside the record."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from scipy import stats

from condkl_studies import plans, store
from condkl_studies.config import PROTOCOL, RunConfig
from condkl_studies.engine import initial_model, trained
from condkl_studies.machine import compiler_found, machine
from condkl_studies.state import State
from condkl_studies.store import RunResult

TERMS = ("elbo", "R", "A", "C")
LEVEL = 0.999  # of the interval in which a repetition on another kind of machine has to lie: four terms are looked at


@dataclass(frozen=True)
class Replay:
    """The means of a first window found `here`, in nats, beside those of the recorded `seeds` of the same setting.

    `here` has `elbo`, `R`, `A` and `C`; `seeds` has a row of them for each seed, none if nothing is recorded. `bits`
    says whether every number is the recorded one to the last bit; it is None where another kind of machine made the
    record, or one with a compiler, so that sums round otherwise.
    """

    config: RunConfig
    here: pd.Series
    seeds: pd.DataFrame
    bits: bool | None = None

    @property
    def table(self) -> pd.DataFrame:
        """A row for each term with `here`, with records `recorded`, the same seed's, with two or more `low` and `high`.

        Between `low` and `high` the next seed lies with probability 0.999, if seeds vary normally.
        """
        table = pd.DataFrame({"here": self.here})
        if len(self.seeds):
            table["recorded"] = self.seeds.reindex([self.config.seed]).iloc[0]
        if len(self.seeds) > 1:
            table[["low", "high"]] = prediction_interval(self.seeds)
        return table

    @property
    def passed(self) -> bool | None:
        """Whether the bits agree, or else each term lies in the interval of the next seed; None if nothing tells."""
        if self.bits is not None:
            return self.bits
        return None if len(self.seeds) < 2 else not self._outside()

    def __str__(self) -> str:
        if self.bits is not None:
            return "bit for bit" if self.bits else f"got {self.here.to_dict()}, where the record has other bits"
        if self.passed is None:
            found = f"only {len(self.seeds)} recorded seed" if len(self.seeds) else "no record"
            return f"there is {found} of this setting to compare with"
        where = "inside" if self.passed else f"OUTSIDE ({', '.join(self._outside())})"
        return f"{where} the {LEVEL:.1%} prediction interval of {len(self.seeds)} recorded seeds"

    def _outside(self) -> list[str]:
        """The terms that lie not in their intervals; a term that is always 0, as C of one layer, has none."""
        table = self.table.loc[self.seeds.columns[(self.seeds != 0).any()]]
        inside = (table["low"] <= table["here"]) & (table["here"] <= table["high"])
        return table.index[~inside].tolist()


def beside(config: RunConfig, here: Mapping[str, float]) -> Replay:
    """The means `here` of a first window, beside the records of that setting; a record that is missing is left out.

    A ValueError says that `elbo`, `R`, `A` or `C` is missing, a RecordError that a record is broken.
    """
    if missing := [name for name in TERMS if name not in here]:
        raise ValueError(f"here: expected {', '.join(TERMS)}, got none of {', '.join(missing)}.")
    same = [
        store.read(name, other)
        for name in plans.names()
        for other in store.recorded(name, plans.study(name).configs)
        if config.same_but_for_seed(other)
    ]
    return Replay(config, pd.Series({name: float(here[name]) for name in TERMS}), _first_rows(same))


def train_beside(config: RunConfig) -> Replay:
    """Train the first window of that run on the CPU, in one thread, uncompiled, and set it beside the records.

    A RunFailedError says that training diverged, a RecordError that a record is broken.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        row = first_window(config, device="cpu").iloc[0]
    finally:
        torch.set_num_threads(threads)
    return beside(config, {str(name): value for name, value in row.items()})


def replay_sample(records: Sequence[RunResult], count: int, seed: int, eager: bool = False) -> list[Replay]:
    """Train the first window of `count` of the records again, drawn with `seed`.

    On the kind of machine that made the record every number has to be the same to the last bit. Elsewhere, uncompiled
    where the record was compiled, and if its protocol is an earlier one, so that other bits were drawn, each term has
    to lie within the spread of the recorded seeds of the same setting; a run that is its setting's only seed is not
    drawn there. What was recorded compiled is compiled again where there is a compiler, but not if `eager`.
    """
    records = [record for record in records if len(record.metrics)]  # one that diverged early has no window
    seeds = {id(record): [r for r in records if record.config.same_but_for_seed(r.config)] for record in records}
    fit = [record for record in records if _repeatable(record, eager) or len(seeds[id(record)]) > 1]
    chosen = random.Random(seed).sample(fit, min(count, len(fit)))
    return [replay(record, seeds[id(record)], eager) for record in chosen]


def replay(record: RunResult, seeds: Sequence[RunResult], eager: bool = False) -> Replay:
    """Train the first window of one record again; `seeds` are the records of its setting, itself among them."""
    torch.set_num_threads(record.provenance["threads"])  # sums over several threads round otherwise
    again = first_window(record.config, record.provenance["compiled"] and not eager and compiler_found())
    found, kept = (store.metrics_csv(table.dropna(axis=1)) for table in (again, record.metrics.head(1)))
    bits = found == kept if _repeatable(record, eager) else None
    return Replay(record.config, again.iloc[0][list(TERMS)].astype(float), _first_rows(seeds), bits)


def first_window(config: RunConfig, compiled: bool = False, device: str = "auto") -> pd.DataFrame:
    """Train the first window of a run, with arguments and errors as of `fit_run`: the first row of its record."""
    config = replace(config, protocol=PROTOCOL)  # what can be trained
    return pd.DataFrame(next(trained(config, State.start(initial_model(config, device)), compiled)).rows)


def prediction_interval(values: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Where one more row would lie: mean ± t s √(1 + 1/n) of each column, Student's t with n - 1 degrees of freedom.

    The next value lies between `low` and `high` with probability `level`, if values are independent and normal. Fewer
    than two rows, which have no spread to go by, are a ValueError.
    """
    if (n := len(values)) < 2:
        raise ValueError(f"values: expected two rows or more, got {n}. A single seed has no spread.")
    half = stats.t.ppf(0.5 + level / 2, n - 1) * np.sqrt(1 + 1 / n) * values.std()
    return pd.DataFrame({"low": values.mean() - half, "high": values.mean() + half})


def _repeatable(record: RunResult, eager: bool) -> bool:
    """Whether this machine has what gives the record's bits."""
    said = record.provenance
    return (
        record.config.protocol == PROTOCOL
        and said["machine"] == machine()
        and (not said["compiled"] or (not eager and compiler_found()))
    )


def _first_rows(records: Sequence[RunResult]) -> pd.DataFrame:
    """The terms of the first window of each record, by seed."""
    rows = {r.config.seed: r.metrics.iloc[0][list(TERMS)].astype(float) for r in records if len(r.metrics)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(TERMS)).sort_index()
