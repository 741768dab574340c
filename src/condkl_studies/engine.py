"""One run: train as its config says, evaluate, and say what stands behind the numbers."""

import contextlib
import math
import os
import platform
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from condkl_studies import models
from condkl_studies.cache import Cache
from condkl_studies.config import PROTOCOL, RunConfig
from condkl_studies.data import load
from condkl_studies.machine import commit, compiler, machine
from condkl_studies.randomness import seeded_globally
from condkl_studies.state import State
from condkl_studies.store import RunResult
from condkl_studies.training import NonFiniteLossError, fastest_calls, windows


class RunFailedError(RuntimeError):
    """A run met a loss that is not finite, at that `step`; the message holds step, term and config."""

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message, step)  # the arguments, so that the error travels between processes
        self.message, self.step = message, step

    def __str__(self) -> str:
        return self.message


def fit_run(config: RunConfig, cache: Path | None = None, compiled: bool = False, device: str = "auto") -> RunResult:
    """Train one model as `config` says and evaluate it.

    A run whose state is in the folder `cache` goes on from it; None keeps no state. A `compiled` step needs a C++
    compiler or CUDA. The device "auto" is CUDA where it is.

    A RunFailedError says that training diverged. If the config says that it may, the result has the rows until then
    and no evaluation. A RunBusyError says that another process trains this run in this cache, a ValueError that the
    config is of an earlier protocol, whose records can be read.
    """
    if config.protocol != PROTOCOL:
        raise ValueError(
            f"protocol: expected {PROTOCOL}, got {config.protocol}: {config.label} is of numerics that this version "
            f"reads and does not train. Train it as `dataclasses.replace(config, protocol={PROTOCOL})`."
        )
    torch.set_num_threads(1)  # runs share a machine: one thread each is faster, and never collapses
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    # Now, because files may change while the run goes on.
    made_by = {"protocol": config.protocol, "packages": _packages(), "machine": machine(), "compiled": compiled}
    made_at = commit()
    store = Cache(cache / config.id, made_by) if cache else None
    with store.held() if store else contextlib.nullcontext():
        kind, model = models.kind(config), initial_model(config, device)
        state, before = store.load(model) if store else (State.start(model), 0.0)
        start, diverged_at = time.perf_counter(), 0
        try:
            for _ in trained(config, state, compiled):
                if store:
                    store.save(state, before + time.perf_counter() - start)
        except RunFailedError as error:
            if not config.may_diverge:
                raise
            diverged_at = error.step
        training = before + time.perf_counter() - start
        samples = {"diverged_at": np.array(diverged_at)} if diverged_at else _final(kind, state, compiled)
        seconds = {"training": training, "evaluation": before + time.perf_counter() - start - training}
        parameter, images = next(model.parameters()), load(config.data, "train")
        provenance = {
            "commit": made_at,
            **made_by,
            "python": platform.python_version(),
            "device": str(parameter.device),
            "dtype": str(parameter.dtype),
            "compiler": compiler(),
            "products": str(fastest_calls(kind, model, images.to(parameter.device))) if compiled else "torch",
            "threads": torch.get_num_threads(),
            "seed": config.seed,
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        rows = pd.DataFrame(state.rows, columns=None if state.rows else ["step", "elbo", "R", "A", "C"])
        return RunResult(config, rows, samples, provenance)


def initial_model(config: RunConfig, device: str = "auto") -> nn.Module:
    """The model before training: its weights depend on the seed and its settings, and on the data where it says so."""
    images = load(config.data, "train")
    with seeded_globally(config.seed):
        model = models.kind(config).initial(images)
    place = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(place if device == "auto" else device)


def trained(config: RunConfig, state: State, compiled: bool = False) -> Iterator[State]:
    """Train `state` on; yields it after each window, its row complete; a RunFailedError if a term is not finite."""
    kind, images = models.kind(config), load(config.data, "train")
    try:
        for _ in windows(state, kind, images, config.training(), config.seed, compiled):
            if len(state.rows) % config.validate_every == 0 or state.step == config.steps:
                found = kind.validation(state.model)
                # A loss is checked before the step that follows it; this looks at what the last step made.
                for name, value in found.items():
                    if not math.isfinite(value):
                        name = f"{name.removeprefix('val_')} on the validation images"
                        raise NonFiniteLossError(state.step, name, value)
                state.rows[-1] |= found
            if len(state.film.get("step", ())) < state.step * config.pictures // config.steps:
                for name, picture in (kind.pictures(state.model) | {"step": torch.tensor(state.step)}).items():
                    frame = picture.cpu()[None]
                    state.film[name] = torch.cat([state.film[name], frame]) if name in state.film else frame
            yield state
    except NonFiniteLossError as error:
        raise RunFailedError(f"{config.label}: {error} Config: {config.canonical()}", error.step) from error


def _final(kind: models.Kind, state: State, compiled: bool) -> dict[str, np.ndarray]:
    film = {f"film_{name}": frames for name, frames in state.film.items()}
    return {name: value.cpu().numpy() for name, value in (kind.final(state.model, compiled) | film).items()}


def _packages() -> dict[str, str]:
    return {name: version(name) for name in ("condkl", "torch", "numpy", "pandas", "safetensors")}
