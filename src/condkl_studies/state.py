"""Training between two windows, and the file that keeps it: whole or not there, and sealed.

A state is one safetensors file, written beside its place and then moved into it: whenever the process dies, the file
holds a whole state, or is not there. Its header describes the state and has the SHA-256 of the tensors; the description
is sealed by its own SHA-256.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from condkl_studies.config import digest
from condkl_studies.files import write_whole

_FILM = "film."


class StateError(RuntimeError):
    """A saved state is missing, truncated or altered, or it is that of another model."""


@dataclass
class State:
    """Training between two windows: the model, its step, Adam's moments of each parameter, and the record so far.

    `film` has the pictures so far, by name, the first dimension being time.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     State.start(nn.Linear(2, 3)).save(Path(folder) / "state.safetensors")
        ...     State.load(Path(folder) / "state.safetensors", nn.Linear(2, 3)).step
        0
    """

    model: nn.Module
    step: int
    first: list[Tensor]
    second: list[Tensor]
    rows: list[dict[str, float]] = field(default_factory=list)
    film: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, model: nn.Module) -> "State":
        """No step done."""
        first, second = ([torch.zeros_like(p) for p in model.parameters()] for _ in range(2))
        return cls(model, 0, first, second)

    def save(self, path: Path, **more: Any) -> None:
        """Replace the file by this state; `more` is what else its description says, as JSON knows it."""
        tensors = _tensors(self)
        said = {"step": self.step, "rows": self.rows, **more, "sha256": _sha256(tensors)}
        header = {"state": json.dumps(said), "seal": digest(said)}
        write_whole(Path(path), safetensors.torch.save(_in_order(tensors), header))

    @classmethod
    def load(cls, path: Path, model: nn.Module) -> "State":
        """The saved state, put into `model`, on whatever device it is; a StateError if there is none, or it is broken.

        The model is one that has the same parameters. It is only changed if all is well.
        """
        said, state = description(path), cls.start(model)
        try:
            saved = safetensors.torch.load_file(path)
        except (OSError, SafetensorError) as error:
            raise StateError(f"{path}: truncated or altered since it was written ({error}).") from error
        if _sha256(saved) != said["sha256"]:
            raise StateError(f"{path}: altered since it was written. Delete it, and train anew.")
        own = _tensors(state)
        film = {name: saved.pop(name) for name in list(saved) if name.startswith(_FILM)}
        expected, got = ({k: f"{t.dtype} of shape {tuple(t.shape)}" for k, t in some.items()} for some in (own, saved))
        if got != expected:
            odd = min(name for name, _ in expected.items() ^ got.items())
            raise StateError(
                f"{path}: expected the parameters of this model, {odd}: {expected.get(odd)}, got {got.get(odd)}. "
                "Make the model as it was made, or choose another file."
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(saved[name])
        state.step, state.rows = said["step"], said["rows"]
        state.film = {name.removeprefix(_FILM): frames for name, frames in film.items()}
        return state


def description(path: Path) -> dict[str, Any]:
    """What is said of a saved state, its `step` and `rows` among it; a StateError if there is none, or it is broken."""
    if not Path(path).is_file():
        raise StateError(f"{path}: no such file. Save a state there first.")
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata()
        said: dict[str, Any] = json.loads(header["state"])
        sealed = header["seal"] == digest(said)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:  # not whole, or no description
        raise StateError(f"{path}: truncated, altered, or no saved state ({error!r}).") from error
    if not sealed:
        raise StateError(f"{path}: altered since it was written. Delete it, and train anew.")
    return said


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
