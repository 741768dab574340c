"""Whether the records are whole, and whether runs can be repeated."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy import stats

from condkl.studies import store
from condkl.studies.config import RunConfig
from condkl.studies.engine import RunResult, compiler_found, initial_model, machine, metrics_table, trained
from condkl.training import State

_LEVEL = 0.999  # of the interval in which a repetition on another kind of machine has to lie


@dataclass(frozen=True)
class Replay:
    """The first window of a recorded run, trained again.

    Attributes:
        config: the run.
        same_machine: whether this kind of machine made the record (and, where it was compiled, has a compiler), so that
            every bit has to agree.
        passed: whether the repetition agrees.
        detail: in words.
    """

    config: RunConfig
    same_machine: bool
    passed: bool
    detail: str


def problems(studies: Mapping[str, Sequence[RunConfig]]) -> list[str]:
    """What is wrong with the records: one line for each missing, half-written, truncated, altered or unknown one."""
    found = []
    for name, configs in studies.items():
        for config in configs:
            try:
                store.read(name, config)
            except store.RecordError as error:
                found.append(str(error))
    known = {store.record_folder(name, config) for name, configs in studies.items() for config in configs}
    for folder in sorted(store.runs_folder().glob("*/*")):
        if folder.name.startswith(store.PARTIAL):
            found.append(f"{folder}: a half-written record. Delete it, and run the study.")
        elif folder.is_dir() and folder not in known:
            found.append(f"{folder}: a record of no run of any study. Delete it, or add its config to a study.")
    return found


def replay_sample(records: Sequence[RunResult], count: int, seed: int) -> list[Replay]:
    """Train the first window of `count` of the records again, drawn with `seed`.

    On the kind of machine that made the record every number has to be the same to the last bit. Elsewhere each term
    has to lie within the spread of the recorded seeds of the same setting; a run that is its setting's only seed is not
    drawn there.
    """
    seeds = {id(record): [r for r in records if _setting(r) == _setting(record)] for record in records}
    fit = [record for record in records if _repeatable(record) or len(seeds[id(record)]) > 1]
    chosen = random.Random(seed).sample(fit, min(count, len(fit)))
    return [replay(record, seeds[id(record)]) for record in chosen]


def replay(record: RunResult, seeds: Sequence[RunResult]) -> Replay:
    """Train the first window of one record again; `seeds` are the records of its setting, itself among them."""
    config = record.config
    same = _repeatable(record)
    torch.set_num_threads(record.provenance["threads"])  # sums over several threads round otherwise
    state = State.start(initial_model(config))
    state = next(trained(config, state, compiled=record.provenance["compiled"] and compiler_found()))
    again, recorded = metrics_table(state), record.metrics.head(1)
    if same:
        passed = _first_row(again) == _first_row(recorded)
        return Replay(config, same, passed, "bit for bit" if passed else f"got {again}, recorded {recorded}")
    columns = [name for name in ("elbo", "R", "A", "C") if recorded[name].iloc[0] != 0]
    spread = pd.concat(r.metrics.head(1) for r in seeds)[columns]
    width = stats.t.ppf(0.5 + _LEVEL / 2, max(len(spread) - 1, 1)) * np.sqrt(1 + 1 / len(spread)) * spread.std()
    off = (again[columns].iloc[0] - spread.mean()).abs() / width
    return Replay(config, same, bool((off <= 1).all()), f"{off.max():.2f} of the seeds' spread")


def _repeatable(record: RunResult) -> bool:
    """Whether this machine has what gives the record's bits."""
    return record.provenance["machine"] == machine() and (not record.provenance["compiled"] or compiler_found())


def _first_row(table: pd.DataFrame) -> bytes:
    return store.metrics_csv(table.dropna(axis=1))


def _setting(record: RunResult) -> dict[str, object]:
    return {name: value for name, value in vars(record.config).items() if name != "seed"}
