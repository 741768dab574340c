"""Where a run in progress leaves its state, so that it goes on to the last bit after any kind of death.

The description of a state says what made it besides the config, and how long that took.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import nn

from condkl_studies.files import data_folder, folder_named_by
from condkl_studies.state import State, StateError, description

_FILE = "state.safetensors"


class RunBusyError(RuntimeError):
    """Another process is training the same run."""


def cache_folder() -> Path:
    """Where states lie: `CONDKL_CACHE` if it is set, else `.cache/runs` beside the data folder."""
    return folder_named_by("CONDKL_CACHE") or data_folder().parent / ".cache" / "runs"


@dataclass(frozen=True)
class Cache:
    """The state of one run, in a folder of its own.

    `made_by` is what the numbers depend on besides the config (versions, machine, compiled or not), as JSON knows it. A
    state that something else made is not gone on from: the record would be of two makings.
    """

    folder: Path
    made_by: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from this run until this one ends, in whatever way; a RunBusyError if one holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            hold = FileLock(self.folder / "lock").acquire(timeout=0)
        except Timeout as error:
            raise RunBusyError(f"{self.folder}: another process is training this run. Wait for it.") from error
        with hold:
            yield

    def save(self, state: State, seconds: float) -> None:
        """Replace the saved state by this one; `seconds` is the time spent on the run so far."""
        state.save(self.folder / _FILE, seconds=seconds, made_by=self.made_by)

    def peek(self) -> dict[str, Any] | None:
        """What is said of the saved state, or None if there is none, or one that is not as it was written."""
        try:
            return description(self.folder / _FILE)
        except StateError:
            return None

    def clear(self) -> None:
        """Delete the state; the run is recorded."""
        with self.held():
            (self.folder / _FILE).unlink(missing_ok=True)

    def load(self, model: nn.Module) -> tuple[State, float]:
        """The saved state, put into `model`, and the seconds behind it; the start if none is there that can be used."""
        said = self.peek()
        if said is None or said["made_by"] != self.made_by:
            return State.start(model), 0.0
        try:
            return State.load(self.folder / _FILE, model), said["seconds"]
        except StateError:
            return State.start(model), 0.0
