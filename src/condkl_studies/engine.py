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
from torch import Tensor

from condkl.objectives import objective
from condkl.vae import HierarchicalVAE
from condkl_studies import products
from condkl_studies.cache import Cache
from condkl_studies.config import PROTOCOL, RunConfig
from condkl_studies.data import binarise_once, load
from condkl_studies.evaluation import iwae_log_likelihood, mean_terms, units
from condkl_studies.machine import commit, compiler, machine
from condkl_studies.randomness import seeded, seeded_globally
from condkl_studies.store import RunResult
from condkl_studies.training import NonFiniteLossError, State, windows

_EVALUATION_SEED = 0  # the same binarisation and latents' noise for every run, so that runs compare in pairs
_GRID = 8  # prior samples: so many v, with so many u each


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
        model = initial_model(config, device)
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
        samples = {"diverged_at": np.array(diverged_at)} if diverged_at else _final(config, model, compiled)
        seconds = {"training": training, "evaluation": before + time.perf_counter() - start - training}
        parameter, images = next(model.parameters()), load(config.data, "train")
        provenance = {
            "commit": made_at,
            **made_by,
            "python": platform.python_version(),
            "device": str(parameter.device),
            "dtype": str(parameter.dtype),
            "compiler": compiler(),
            "products": str(products.calls(images.to(parameter.device), parameter.dtype)) if compiled else "torch",
            "threads": torch.get_num_threads(),
            "seed": config.seed,
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        rows = pd.DataFrame(state.rows, columns=None if state.rows else ["step", "elbo", "R", "A", "C"])
        return RunResult(config, rows, samples, provenance)


def initial_model(config: RunConfig, device: str = "auto") -> HierarchicalVAE:
    """The model before training: its weights depend on the seed and the sizes alone, its last bias on the data."""
    images = load(config.data, "train")
    with seeded_globally(config.seed):
        model = HierarchicalVAE(config.latents, config.hidden, config.skip, images.shape[1], config.residual)
    place = "cuda" if torch.cuda.is_available() else "cpu"
    return model.start_at_mean(images).to(place if device == "auto" else device)


def trained(config: RunConfig, state: State, compiled: bool = False) -> Iterator[State]:
    """Train `state` on; yields it after each window, its row complete; a RunFailedError if a term is not finite."""
    images, validation = load(config.data, "train"), load(config.data, "validation")
    try:
        followed = objective(config.objective)
        for _ in windows(state, followed, images, config.training(), config.seed, compiled):
            if len(state.rows) % config.validate_every == 0 or state.step == config.steps:
                means = mean_terms(state.model, validation, _EVALUATION_SEED)
                counts = units(state.model, validation, _EVALUATION_SEED).active()
                # A loss is checked before the step that follows it; this looks at what the last step made.
                for name, value in means.items():
                    if not math.isfinite(value):
                        raise NonFiniteLossError(state.step, f"{name} on the validation images", value)
                state.rows[-1] |= {f"val_{name}": value for name, value in means.items()} | counts
            yield state
    except NonFiniteLossError as error:
        raise RunFailedError(f"{config.label}: {error} Config: {config.canonical()}", error.step) from error


def _final(config: RunConfig, model: HierarchicalVAE, compiled: bool) -> dict[str, np.ndarray]:
    test = load(config.data, "test")
    means = mean_terms(model, test, _EVALUATION_SEED)
    found = units(model, test, _EVALUATION_SEED)
    names = ["v", "u", *(f"u{i}" for i in range(2, len(found.kl)))]
    arrays = {
        "test": torch.tensor([means[name] for name in ("elbo", "R", "A", "C")], dtype=torch.float64),
        "variance_v": found.variance,
        **{f"kl_{name}": kl for name, kl in zip(names, found.kl, strict=False)},
        **_prior_samples(model),
    }
    if config.likelihood_images:
        draws = seeded(_EVALUATION_SEED, found.variance.device)
        chosen = torch.linspace(0, len(test) - 1, config.likelihood_images).round().long()
        x = binarise_once(test[chosen], _EVALUATION_SEED).to(draws.device)
        arrays["likelihood_image"] = chosen
        arrays["log_likelihood"] = iwae_log_likelihood(model, x, config.likelihood_samples, draws, compiled=compiled)
    return {name: value.cpu().numpy() for name, value in arrays.items()}


def _prior_samples(model: HierarchicalVAE) -> dict[str, Tensor]:
    draws = seeded(_EVALUATION_SEED, next(model.parameters()).device)
    noise = model.noise(torch.empty(_GRID * _GRID, 0, device=draws.device), draws)
    same_v = [noise[0][:_GRID].repeat_interleave(_GRID, 0), *noise[1:]]
    same_u = [noise[0], *(e[:_GRID].repeat(_GRID, 1) for e in noise[1:])]
    return {
        name: (model.generate(grid) * 255).round().byte().view(_GRID, _GRID, -1)
        for name, grid in (("prior_u", same_v), ("prior_v", same_u))
    }


def _packages() -> dict[str, str]:
    return {name: version(name) for name in ("condkl", "torch", "numpy", "pandas", "safetensors")}
