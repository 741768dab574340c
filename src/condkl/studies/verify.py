"""Whether the records are whole, and whether runs can be repeated."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import stats

from condkl._files import write_json
from condkl.studies import engine, store
from condkl.studies.config import RunConfig, digest
from condkl.studies.engine import RunResult, compiler_found, initial_model, machine, metrics_table, trained
from condkl.training import State

TERMS = ("elbo", "R", "A", "C")
LEVEL = 0.999  # of the interval in which a repetition on another kind of machine has to lie: four terms are looked at


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


@dataclass(frozen=True)
class Repeated:
    """A replay that passed, as it is kept: the run's id and label, and `same_machine` and `detail` as in `Replay`."""

    run: str
    label: str
    same_machine: bool
    detail: str


@dataclass(frozen=True)
class Verification:
    """What the last verification without a problem found.

    Attributes:
        passed: when it ended, UTC, as ISO 8601.
        commit: of the repository, or None outside one.
        machine: its kind, as `engine.machine` gives it.
        records: how many were checked, for each study.
        seals: `store.seals` of them, for each study.
        replays: the first windows that were trained again.
    """

    passed: str
    commit: str | None
    machine: dict[str, str]
    records: dict[str, int]
    seals: dict[str, str]
    replays: list[Repeated]

    def outdated(self, studies: Mapping[str, Sequence[RunConfig]]) -> list[str]:
        """The names of the studies of which a record came, went or was made anew since."""
        names = dict.fromkeys([*studies, *self.seals])
        now = {name: store.seals(name, studies.get(name, [])) for name in names}
        return [name for name in names if self.seals.get(name, store.seals(name, [])) != now[name]]


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
    seeds = {id(record): [r for r in records if record.config.same_but_for_seed(r.config)] for record in records}
    fit = [record for record in records if _repeatable(record) or len(seeds[id(record)]) > 1]
    chosen = random.Random(seed).sample(fit, min(count, len(fit)))
    return [replay(record, seeds[id(record)]) for record in chosen]


def replay(record: RunResult, seeds: Sequence[RunResult]) -> Replay:
    """Train the first window of one record again; `seeds` are the records of its setting, itself among them."""
    config = record.config
    same = _repeatable(record)
    torch.set_num_threads(record.provenance["threads"])  # sums over several threads round otherwise
    compiled = record.provenance["compiled"] and compiler_found()
    again, recorded = first_window(config, compiled), record.metrics.head(1)
    if same:
        passed = _first_row(again) == _first_row(recorded)
        return Replay(config, same, passed, "bit for bit" if passed else f"got {again}, recorded {recorded}")
    columns = [name for name in TERMS if recorded[name].iloc[0] != 0]
    ends = prediction_interval(pd.concat(r.metrics.head(1) for r in seeds)[columns])
    off = (again[columns].iloc[0] - ends.mean(axis=1)).abs() / (ends["high"] - ends["low"]) * 2
    return Replay(config, same, bool((off <= 1).all()), f"{off.max():.2f} of the seeds' spread")


def verified_file() -> Path:
    """Where the last verification without a problem is kept, beside the studies' records."""
    return store.runs_folder() / "verified.json"


def keep_verification(studies: Mapping[str, Sequence[RunConfig]], replays: Sequence[Replay]) -> Path:
    """Keep what a verification without a problem found, in place of the one before.

    Args:
        studies: all of them; each of their records is whole.
        replays: those that were made; each passed.

    Returns:
        The file.
    """
    recorded = {name: store.recorded(name, configs) for name, configs in studies.items()}
    found = Verification(
        passed=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        machine=machine(),
        records={name: len(configs) for name, configs in recorded.items()},
        seals={name: store.seals(name, configs) for name, configs in recorded.items()},
        replays=[Repeated(r.config.id, r.config.label, r.same_machine, r.detail) for r in replays],
    )
    write_json(verified_file(), asdict(found) | {"seal": digest(asdict(found))})
    return verified_file()


def last_verification() -> Verification | None:
    """The last verification without a problem, or None if none was kept.

    Raises:
        RecordError: if its file is truncated or altered.
    """
    try:
        said = json.loads(verified_file().read_text(encoding="utf-8"))
        if said.pop("seal") != digest(said):
            raise ValueError("its seal is another one")
        replays = [Repeated(**one) for one in said.pop("replays")]
        return Verification(**said, replays=replays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise store.RecordError(
            f"{verified_file()}: truncated or altered ({error!r}). Delete it, and run `make verify`."
        ) from error


def commit() -> str | None:
    """The commit of the repository, or None outside one."""
    return engine._commit()  # its sources mark the records, so they gain no public name for this


def first_window(config: RunConfig, compiled: bool = False, device: str = "auto") -> pd.DataFrame:
    """Train the first window of a run: the first row of its record.

    Args:
        config, compiled, device: as for `engine.run`.

    Raises:
        RunFailedError: if training diverges.
    """
    return metrics_table(next(trained(config, State.start(initial_model(config, device)), compiled)))


def prediction_interval(values: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Where one more row would lie: mean ± t s √(1 + 1/n) of each column, Student's t with n - 1 degrees of freedom.

    Args:
        values: a row for each seed.
        level: the probability that the next value lies inside, if the values are independent and normal.

    Returns:
        A row for each column, `low` and `high`.

    Raises:
        ValueError: with fewer than two rows: there is no spread to go by.

    Example:
        >>> prediction_interval(pd.DataFrame({"elbo": [-1.0, 0.0, 1.0]}), level=0.95).round(2)
               low  high
        elbo -4.97  4.97
    """
    n = len(values)
    if n < 2:
        raise ValueError(f"values: expected two rows or more, got {n}. A single seed has no spread.")
    half = stats.t.ppf(0.5 + level / 2, n - 1) * np.sqrt(1 + 1 / n) * values.std()
    return pd.DataFrame({"low": values.mean() - half, "high": values.mean() + half})


def _repeatable(record: RunResult) -> bool:
    """Whether this machine has what gives the record's bits."""
    return record.provenance["machine"] == machine() and (not record.provenance["compiled"] or compiler_found())


def _first_row(table: pd.DataFrame) -> bytes:
    return store.metrics_csv(table.dropna(axis=1))
