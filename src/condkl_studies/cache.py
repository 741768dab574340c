"""Where a run in progress leaves its state, so that it goes on to the last bit after any kind of death.

A state is a safetensors file and `state.json`, which names that file and its SHA-256, says what made the state, and
is sealed by its own SHA-256. Each is written beside its place and then moved into it, the JSON last: whenever the
process dies, `state.json` describes a whole state or is not there.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from condkl.vae import HierarchicalVAE
from condkl_studies.config import digest
from condkl_studies.files import data_folder, write_whole
from condkl_studies.training import State


class RunBusyError(RuntimeError):
    """Another process is training the same run."""


def cache_folder() -> Path:
    """Where states lie: `CONDKL_CACHE` if it is set, else `.cache/runs` beside the data folder."""
    override = os.environ.get("CONDKL_CACHE")
    return Path(override).expanduser().resolve() if override else data_folder().parent / ".cache" / "runs"


@dataclass(frozen=True)
class Cache:
    """The state of one run.

    Attributes:
        folder: a folder of its own.
        made_by: what the numbers depend on besides the config (versions, machine, compiled or not), as JSON knows it. A
            state that something else made is not gone on from: the record would be of two makings.
    """

    folder: Path
    made_by: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from this run; the hold ends with the process, however that ends.

        Raises:
            RunBusyError: if another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            hold = FileLock(self.folder / "lock").acquire(timeout=0)
        except Timeout as error:
            raise RunBusyError(f"{self.folder}: another process is training this run. Wait for it.") from error
        with hold:
            yield

    def save(self, state: State, seconds: float) -> None:
        """Replace the saved state by this one; `seconds` is the time spent on the run so far."""
        raw = safetensors.torch.save(_tensors(state))
        name = f"step-{state.step:08d}.safetensors"
        write_whole(self.folder / name, raw)
        description = {
            "step": state.step,
            "file": name,
            "sha256": hashlib.sha256(raw).hexdigest(),
            "seconds": seconds,
            "made_by": self.made_by,
            "rows": state.rows,
        }
        write_whole(self.folder / "state.json", json.dumps(description | {"seal": digest(description)}).encode())
        for old in self.folder.glob("step-*.safetensors"):
            if old.name != name:
                old.unlink()

    def peek(self) -> dict[str, Any] | None:
        """What `state.json` says, or None if there is none, or one that is not as it was written."""
        try:
            said = json.loads((self.folder / "state.json").read_text())
            seal = said.pop("seal")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # no file, no text, no JSON, no seal
            return None
        return said if seal == digest(said) else None

    def clear(self) -> None:
        """Delete the state; the run is recorded."""
        with self.held():
            for path in [self.folder / "state.json", *self.folder.glob("step-*.safetensors")]:
                path.unlink(missing_ok=True)

    def load(self, model: HierarchicalVAE) -> tuple[State, float]:
        """The saved state, put into `model`, and the seconds behind it; the start if none is there that can be used."""
        state, said = State.start(model), self.peek()
        if said is None or said["made_by"] != self.made_by:
            return state, 0.0
        try:
            raw = (self.folder / said["file"]).read_bytes()
        except OSError:
            return state, 0.0
        if hashlib.sha256(raw).hexdigest() != said["sha256"]:
            return state, 0.0
        saved = safetensors.torch.load(raw)
        with torch.no_grad():
            for name, tensor in _tensors(state).items():
                tensor.copy_(saved[name])
        state.step, state.rows = said["step"], said["rows"]
        return state, said["seconds"]


def _tensors(state: State) -> dict[str, Tensor]:
    """The weights and Adam's moments by name; they share memory with the state."""
    names = [name for name, _ in state.model.named_parameters()]
    weights = [p.detach() for p in state.model.parameters()]
    kinds = {"weight": weights, "first": state.first, "second": state.second}
    return {f"{kind}.{name}": t for kind, ts in kinds.items() for name, t in zip(names, ts, strict=True)}
