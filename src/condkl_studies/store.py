"""Recorded runs: four files in a folder named by the run's id, written once, whole, and sealed by hashes.

`config.json`, `metrics.csv`, `samples.npz`, and `provenance.json`, which holds the hashes of the others and its own.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from condkl_studies.config import RunConfig, config_from, digest
from condkl_studies.files import data_folder, indented, write_folder

_FILES = ("config.json", "metrics.csv", "samples.npz")
_SEALED = "provenance.json"
_CURE = "Restore it with `git checkout -- data/runs`, or delete the folder and run the study."


@dataclass(frozen=True)
class RunResult:
    """What a run leaves.

    Attributes:
        config: its settings.
        metrics: a row for each window of training: `step`, means over its batches of `elbo`, `R`, `A`, `C`, what
            pulls on theta and how noisy that is if the config asks for it, and, in the rows that have them, `val_elbo`,
            `val_R`, `val_A`, `val_C`, `active_v`, `active_u` on the validation split. All terms in nats.
        samples: arrays. `prior_u`, grey levels as bytes, shape (8, 8, pixels), has one v for each row and a new u for
            each image; `prior_v` the same u's noise along each column, and a new v for each image; `variance_v` and
            `kl_v`, `kl_u`, … are `evaluation.Units` on the test split; `test` holds its mean ELBO, R, A and C;
            `likelihood_image` and `log_likelihood` the numbers of test images and their estimates in nats. A model that
            counts has what `models.counting` says in place of these. With `pictures` also `film_` and the name
            of each of the model's pictures, the first dimension being time, and their `film_step`. A run that
            diverged, and was allowed to, has the step alone, `diverged_at`.
        provenance: what stands behind the numbers: commit, versions, machine, seconds, time.
    """

    config: RunConfig
    metrics: pd.DataFrame
    samples: dict[str, np.ndarray]
    provenance: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long the run took by the clock, evaluation included."""
        return float(sum(self.provenance["seconds"].values()))


class RecordError(RuntimeError):
    """A record is missing, half-written, truncated or altered."""


def runs_folder() -> Path:
    """`runs` in the data folder."""
    return data_folder() / "runs"


def record_folder(study: str, config: RunConfig) -> Path:
    """Where the record of that run of that study lies, or will."""
    return runs_folder() / study / config.id


def write(study: str, result: RunResult) -> Path:
    """Record a run and return the record's folder; a RecordError if it is there: no record is ever overwritten."""
    folder = record_folder(study, result.config)
    if folder.exists():
        raise RecordError(f"{folder}: recorded already, and never overwritten. Delete it to have it made anew.")
    samples = io.BytesIO()
    np.savez_compressed(samples, **result.samples)  # type: ignore[arg-type]
    raws = (indented(result.config.settings()), metrics_csv(result.metrics), samples.getvalue())
    contents = dict(zip(_FILES, raws, strict=True))
    provenance = result.provenance | {"files": {name: _sha256(raw) for name, raw in contents.items()}}
    write_folder(folder, contents | {_SEALED: indented(provenance | {"seal": digest(provenance)})})
    return folder


def read(study: str, config: RunConfig) -> RunResult:
    """The record of that run; a RecordError if there is none, with the command that makes it, or a broken one."""
    folder = record_folder(study, config)
    if not folder.exists():
        how = f"Make it with `make study NAME={study}` (`python -m condkl_studies run {study}`)."
        raise RecordError(f"{folder}: no record of the run '{config.label}'. {how}")
    return read_folder(folder)


def read_study(study: str, configs: Sequence[RunConfig]) -> list[RunResult]:
    """The records of those runs, in their order; a RecordError as of `read` at the first run that lacks one."""
    return [read(study, config) for config in configs]


def recorded(study: str, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Those of the runs that have a record, whole or not, in their order."""
    folder = runs_folder() / study
    return [config for config in configs if (folder / config.id).exists()]


def seals(study: str, configs: Sequence[RunConfig]) -> str:
    """A SHA-256 over the files of provenance, unchecked: it changes when a record comes, goes, or is made anew."""
    files = sorted(record_folder(study, config) / _SEALED for config in configs)
    return _sha256(b"".join(file.parent.name.encode() + file.read_bytes() for file in files if file.is_file()))


def read_folder(folder: Path) -> RunResult:
    """The record in that folder; a RecordError that names the file if one is missing, truncated or altered."""
    provenance, raws = _checked(folder)
    try:
        config = config_from(json.loads(raws["config.json"]))
    except (ValueError, TypeError) as error:
        raise RecordError(f"{folder / 'config.json'}: {error}") from error
    if config.id != folder.name:
        raise RecordError(f"{folder}: expected the name {config.id}, the id of its config. {_CURE}")
    metrics = pd.read_csv(io.BytesIO(raws["metrics.csv"]))
    with np.load(io.BytesIO(raws["samples.npz"]), allow_pickle=False) as arrays:
        samples = {name: arrays[name] for name in arrays.files}
    return RunResult(config, metrics, samples, provenance)


def metrics_csv(metrics: pd.DataFrame) -> bytes:
    """The record as CSV, with as many digits as give the same numbers back."""
    return metrics.to_csv(index=False, lineterminator="\n").encode()


def _checked(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The provenance of the record in that folder and its other files, if every one is as it was written."""
    sealed = _bytes(folder / _SEALED)
    try:
        provenance = json.loads(sealed)
        as_written = sealed == indented(provenance)
        seal = provenance.pop("seal")
        as_sealed = seal == digest(provenance)
        hashes = provenance.pop("files")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{folder / _SEALED}: truncated or altered ({error!r}). {_CURE}") from error
    if not (as_written and as_sealed):
        raise RecordError(f"{folder / _SEALED}: altered since it was written. {_CURE}")
    raws = {name: _bytes(folder / name) for name in _FILES}
    for name, raw in raws.items():
        if _sha256(raw) != hashes.get(name):
            raise RecordError(f"{folder / name}: truncated or altered since it was written. {_CURE}")
    return provenance, raws


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RecordError(f"{file}: cannot be read ({error.strerror}). {_CURE}") from error


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
