"""Recorded runs: four files in a folder named by the run's id, written once, whole, and sealed by hashes.

`config.json`, `metrics.csv`, `samples.npz`, and `provenance.json`, which holds the hashes of the others and its own.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from condkl_studies.config import RunConfig, config_from, digest
from condkl_studies.files import data_folder, write_folder
from condkl_studies.records import RunResult

_FILES = ("config.json", "metrics.csv", "samples.npz")
_SEALED = "provenance.json"


class RecordError(RuntimeError):
    """A record is missing, half-written, truncated or altered."""


def runs_folder() -> Path:
    """`runs` in the data folder."""
    return data_folder() / "runs"


def record_folder(study: str, config: RunConfig) -> Path:
    """Where the record of that run of that study lies, or will."""
    return runs_folder() / study / config.id


def write(study: str, result: RunResult) -> Path:
    """Record a run: all files in a temporary folder, which then gets its name.

    Returns:
        The record's folder.

    Raises:
        RecordError: if the run is recorded already. A record is never overwritten.
    """
    folder = record_folder(study, result.config)
    if folder.exists():
        raise RecordError(f"{folder}: recorded already, and never overwritten. Delete it to have it made anew.")
    contents = _contents(result)
    hashes = {name: _sha256(raw) for name, raw in contents.items()}
    provenance = result.provenance | {"files": hashes}
    provenance["seal"] = digest(provenance)
    contents[_SEALED] = _indented(provenance)
    write_folder(folder, contents)
    return folder


def read(study: str, config: RunConfig) -> RunResult:
    """The record of that run.

    Raises:
        RecordError: if there is none (the message names the command that makes it), or a broken one.
    """
    folder = record_folder(study, config)
    if not folder.exists():
        raise RecordError(
            f"{folder}: no record of the run '{config.label}'. Make it with `make study NAME={study}` "
            f"(`python -m condkl_studies run {study}`)."
        )
    return read_folder(folder)


def read_study(study: str, configs: Sequence[RunConfig]) -> list[RunResult]:
    """The records of those runs, in their order.

    Raises:
        RecordError: as for `read`, at the first run that lacks one.
    """
    return [read(study, config) for config in configs]


def recorded(study: str, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Those of the runs that have a record, whole or not, in their order."""
    return [config for config in configs if record_folder(study, config).exists()]


def seals(study: str, configs: Sequence[RunConfig]) -> str:
    """A SHA-256 that changes when a record of those runs comes, goes, or is made anew.

    It is taken over the files of provenance as they lie there, and checks none of them.
    """
    folders = sorted(record_folder(study, config) for config in configs)
    files = [folder / _SEALED for folder in folders if (folder / _SEALED).is_file()]
    return _sha256(b"".join(file.parent.name.encode() + file.read_bytes() for file in files))


def read_folder(folder: Path) -> RunResult:
    """The record in that folder, after checking every hash.

    Raises:
        RecordError: if it is half-written, truncated or altered; the message names the file.
    """
    provenance = _checked(folder)
    raws = {name: (folder / name).read_bytes() for name in _FILES}
    try:
        config = config_from(json.loads(raws["config.json"]))
    except (ValueError, TypeError) as error:
        raise RecordError(f"{folder / 'config.json'}: {error}") from error
    if config.id != folder.name:
        raise RecordError(f"{folder}: expected the name {config.id}, the id of its config. {_CURE}")
    metrics = pd.read_csv(io.BytesIO(raws["metrics.csv"]))
    with np.load(io.BytesIO(raws["samples.npz"]), allow_pickle=False) as arrays:
        samples = {name: arrays[name] for name in arrays.files}
    del provenance["files"], provenance["seal"]
    return RunResult(config, metrics, samples, provenance)


def metrics_csv(metrics: pd.DataFrame) -> bytes:
    """The record as CSV, with as many digits as give the same numbers back."""
    return metrics.to_csv(index=False, lineterminator="\n").encode()


_CURE = "Restore it with `git checkout -- data/runs`, or delete the folder and run the study."


def _checked(folder: Path) -> dict[str, Any]:
    """The provenance of the record in that folder, if every file is as it was written."""
    try:
        sealed = (folder / _SEALED).read_bytes()
        provenance = json.loads(sealed)
        hashes, seal = provenance["files"], provenance["seal"]
    except OSError as error:
        raise RecordError(f"{folder / _SEALED}: cannot be read ({error.strerror}). {_CURE}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{folder / _SEALED}: truncated or altered ({error!r}). {_CURE}") from error
    unsealed = {name: value for name, value in provenance.items() if name != "seal"}
    if seal != digest(unsealed) or sealed != _indented(provenance):
        raise RecordError(f"{folder / _SEALED}: altered since it was written. {_CURE}")
    for name in _FILES:
        try:
            raw = (folder / name).read_bytes()
        except OSError as error:
            raise RecordError(f"{folder / name}: cannot be read ({error.strerror}). {_CURE}") from error
        if _sha256(raw) != hashes.get(name):
            raise RecordError(f"{folder / name}: truncated or altered since it was written. {_CURE}")
    return provenance


def _contents(result: RunResult) -> dict[str, bytes]:
    samples = io.BytesIO()
    np.savez_compressed(samples, **result.samples)  # type: ignore[arg-type]
    return {
        "config.json": _indented(result.config.settings()),
        "metrics.csv": metrics_csv(result.metrics),
        "samples.npz": samples.getvalue(),
    }


def _indented(settings: dict[str, Any]) -> bytes:
    return (json.dumps(settings, indent=1) + "\n").encode()


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
