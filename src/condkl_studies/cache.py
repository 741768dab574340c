"""Where a run in progress leaves its state, so that it goes on to the last bit after any kind of death.

A state is one safetensors file, written beside its place and then moved into it: whenever the process dies, the file
holds a whole state, or is not there. Its header describes the state, says what made it, and has the SHA-256 of the
tensors; the description is sealed by its own SHA-256.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from condkl_studies.config import digest
from condkl_studies.files import data_folder, folder_named_by, write_whole
from condkl_studies.training import State

_FILE, _FILM = "state.safetensors", "film."


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
        tensors = _tensors(state)
        said = {"step": state.step, "rows": state.rows, "seconds": seconds, "made_by": self.made_by}
        said["sha256"] = _sha256(tensors)
        header = {"state": json.dumps(said), "seal": digest(said)}
        write_whole(self.folder / _FILE, safetensors.torch.save(_in_order(tensors), header))

    def peek(self) -> dict[str, Any] | None:
        """What is said of the saved state, or None if there is none, or one that is not as it was written."""
        try:
            with safe_open(self.folder / _FILE, "pt") as file:
                header = file.metadata()
            said = json.loads(header["state"])
            return said if header["seal"] == digest(said) else None
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):  # no file, not whole, no description
            return None

    def clear(self) -> None:
        """Delete the state; the run is recorded."""
        with self.held():
            (self.folder / _FILE).unlink(missing_ok=True)

    def load(self, model: nn.Module) -> tuple[State, float]:
        """The saved state, put into `model`, and the seconds behind it; the start if none is there that can be used."""
        state, said = State.start(model), self.peek()
        if said is None or said["made_by"] != self.made_by:
            return state, 0.0
        saved = safetensors.torch.load_file(self.folder / _FILE)
        if _sha256(saved) != said["sha256"]:
            return state, 0.0
        with torch.no_grad():
            for name, tensor in _tensors(state).items():
                tensor.copy_(saved[name])
        state.step, state.rows = said["step"], said["rows"]
        state.film = {name.removeprefix(_FILM): each for name, each in saved.items() if name.startswith(_FILM)}
        return state, said["seconds"]


def _sha256(tensors: dict[str, Tensor]) -> str:
    """Of all that safetensors writes of them: names, types, shapes and bytes."""
    return hashlib.sha256(safetensors.torch.save(_in_order(tensors))).hexdigest()


def _in_order(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, row by row in memory."""
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _tensors(state: State) -> dict[str, Tensor]:
    """The weights, Adam's moments and the film by name; they share memory with the state."""
    names = [name for name, _ in state.model.named_parameters()]
    weights = [p.detach() for p in state.model.parameters()]
    kinds = {"weight": weights, "first": state.first, "second": state.second}
    own = {f"{kind}.{name}": t for kind, ts in kinds.items() for name, t in zip(names, ts, strict=True)}
    return own | {f"{_FILM}{name}": frames for name, frames in state.film.items()}
