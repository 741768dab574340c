"""The first window of a run, trained here and now, beside the recorded seeds of its setting.

A record says what one machine found. Its first window takes seconds on any machine, and shows whether the record can be
repeated there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch

from condkl.studies import store, verify
from condkl.studies.config import RunConfig
from condkl.studies.plans import STUDIES
from condkl.studies.verify import LEVEL, TERMS, prediction_interval


@dataclass(frozen=True)
class Beside:
    """The means of a first window, beside those of the recorded seeds of the same setting.

    Attributes:
        config: the setting and the seed.
        here: the means found here, in nats: `elbo`, `R`, `A`, `C`.
        seeds: the recorded means, a row for each seed, those terms as columns; no row if nothing is recorded.
    """

    config: RunConfig
    here: pd.Series
    seeds: pd.DataFrame

    @property
    def table(self) -> pd.DataFrame:
        """A row for each term with `here`, with records `recorded`, the same seed's, with two or more `low` and `high`.

        Between `low` and `high` the next seed lies with probability 0.999, if seeds vary normally.
        """
        table = pd.DataFrame({"here": self.here})
        if len(self.seeds):
            same = self.seeds.reindex([self.config.seed])
            table["recorded"] = same.iloc[0]
        if len(self.seeds) > 1:
            table[["low", "high"]] = prediction_interval(self.seeds)
        return table

    @property
    def inside(self) -> bool | None:
        """Whether each term lies in the interval of the next seed; None with fewer than two recorded seeds."""
        if len(self.seeds) < 2:
            return None
        return not self._outside()

    def __str__(self) -> str:
        if self.inside is None:
            found = f"only {len(self.seeds)} recorded seed" if len(self.seeds) else "no record"
            return f"there is {found} of this setting to compare with"
        where = "inside" if self.inside else f"OUTSIDE ({', '.join(self._outside())})"
        return f"{where} the {LEVEL:.1%} prediction interval of {len(self.seeds)} recorded seeds"

    def _outside(self) -> list[str]:
        """The terms that lie not in their intervals."""
        table = self.table
        inside = (table["low"] <= table["here"]) & (table["here"] <= table["high"])
        return table.index[~inside].tolist()


def beside(config: RunConfig, here: Mapping[str, float]) -> Beside:
    """The means `here` of a first window, beside the records of that setting; a record that is missing is left out.

    Args:
        config: the setting and the seed.
        here: `elbo`, `R`, `A` and `C` in nats, and what else there may be.

    Raises:
        ValueError: if a term is missing.
        RecordError: if a record is broken.

    Example:
        >>> config = RunConfig("full", skip=False, seed=0, steps=500, latents=(2, 3))  # in no study
        >>> print(beside(config, {"elbo": -200.0, "R": -190.0, "A": 4.0, "C": 6.0}))
        there is no record of this setting to compare with
    """
    missing = [name for name in TERMS if name not in here]
    if missing:
        raise ValueError(f"here: expected {', '.join(TERMS)}, got none of {', '.join(missing)}.")
    return Beside(config, pd.Series({name: float(here[name]) for name in TERMS}), _recorded(config))


def first_window(config: RunConfig) -> Beside:
    """Train the first window of that run on the CPU, in one thread, uncompiled, and set it beside the records.

    Raises:
        RunFailedError: if training diverges.
        RecordError: if a record is broken.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        row = verify.first_window(config, device="cpu").iloc[0]
    finally:
        torch.set_num_threads(threads)
    return beside(config, {str(name): value for name, value in row.items()})


def _recorded(config: RunConfig) -> pd.DataFrame:
    """The first rows of the recorded seeds of that setting, in any study."""
    rows = {
        other.seed: store.read(study, other).metrics.iloc[0][list(TERMS)].astype(float)
        for study, configs in STUDIES.items()
        for other in configs
        if config.same_but_for_seed(other) and store.record_folder(study, other).exists()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(TERMS)).sort_index()
