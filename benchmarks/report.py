"""What the laps say: rates, ratios, what was needed, and the record."""

import math
import os
import platform
import re
from collections.abc import Collection, Sequence
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.contest import Lap
from benchmarks.contestants import EAGER, NUMPYRO, OURS, PYRO, SCAN
from condkl_studies.config import PROTOCOL
from condkl_studies.machine import commit, machine

NEEDED = {EAGER: 1.7, PYRO: 2.2, NUMPYRO: 1.1, SCAN: 1.05}  # two workers: our rate over theirs, at least
TOO_BUSY = 0.95  # a worker that had its core for a smaller part of its time was disturbed


class Verdict(NamedTuple):
    """Whether a needed ratio, our rate over that of `contestant` with two workers, holds."""

    contestant: str
    needed: float
    ratio: float | None  # the median over the rounds; None if one of the two did not take part
    low: float | None
    high: float | None
    held: bool | None  # whether the median is as large as needed; None if it was not measured


def rates(laps: Sequence[Lap]) -> pd.DataFrame:
    """Steps a second of every lap: a row for each round, columns (workers, contestant)."""
    frame = pd.DataFrame([asdict(lap) | {"rate": lap.rate} for lap in laps])
    return frame.pivot(index="round", columns=["workers", "contestant"], values="rate")


def ratios(laps: Sequence[Lap]) -> pd.DataFrame:
    """Our rate over everyone's in the same round, in which both met the same machine; NaN if ours is not there."""
    found = rates(laps)
    return pd.DataFrame({key: found.get((key[0], OURS), math.nan) / found[key] for key in found.columns})


def summary(laps: Sequence[Lap]) -> pd.DataFrame:
    """`median`, `min` and `max` of the rate for each (workers, contestant), and `ours_over_it`, the median ratio."""
    return rates(laps).agg(["median", "min", "max"]).T.assign(ours_over_it=ratios(laps).median())


def verdicts(laps: Sequence[Lap]) -> list[Verdict]:
    """The needed ratios with two workers."""
    figures = _known(ratios(laps).agg(["median", "min", "max"]).T.reindex([(2, name) for name in NEEDED]))
    return [
        Verdict(name, least, ratio, low, high, held=None if ratio is None else ratio >= least)
        for (name, least), (ratio, low, high) in zip(NEEDED.items(), figures.to_numpy().tolist(), strict=True)
    ]


def record_path(data: Path, processor: str, what: str) -> Path:
    """The file of a record of that kind of machine in the data folder."""
    return data / "bench" / f"{'-'.join(re.findall('[a-z0-9]+', f'{processor} {what}'.lower()))}.json"


def made_by(device: str, packages: Collection[str]) -> dict[str, Any]:
    """What stands behind a record: machine, versions of those packages that are installed, commit and protocol."""
    here = {"device": device, "cores": str(os.cpu_count()), "python": platform.python_version()}
    return {
        "machine": machine() | here,
        "packages": {package.name: package.version for package in distributions() if package.name in packages},
        "commit": commit(),
        "protocol": PROTOCOL,
    }


def disturbed(laps: Sequence[Lap]) -> list[Lap]:
    """The laps in which a worker did not have its core to itself."""
    return [lap for lap in laps if lap.cpu_share < TOO_BUSY]


def record(laps: Sequence[Lap]) -> dict[str, Any]:
    """The parts of the record that follow from the laps, and the laps themselves, as JSON takes them."""
    return {
        "summary": _known(summary(laps)).reset_index(names=["workers", "contestant"]).to_dict("records"),
        "needed": [verdict._asdict() for verdict in verdicts(laps)],
        "laps": [asdict(lap) for lap in laps],
    }


def _known(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype(object).where(table.notna(), None)  # JSON has no NaN
