"""Runs that differ in a few settings: one frozen config each, trained side by side by any executor."""

from collections.abc import Iterable
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass

import pandas as pd
import torch
from tqdm import tqdm

from condkl.data import mnist
from condkl.evaluation import mean_terms
from condkl.objective import objective
from condkl.training import fit
from condkl.vae import HierarchicalVAE

_VALIDATION_SEED = 0  # the same binarisation and latents' noise for every run, so that runs compare in pairs


@dataclass(frozen=True)
class RunConfig:
    """All that decides the numbers of one training run on MNIST.

    Attributes:
        objective: a name from `objective.OBJECTIVES`.
        skip: whether the decoder is p(x|u,v), or p(x|u).
        seed: of the initial weights and of training.
        steps: batches of training.
        latents, hidden: sizes, as `HierarchicalVAE` takes them.
        batch_size, learning_rate: as `training.fit` takes them.
        every: steps between two rows of the record.
        gradients: whether the record says what pulls on theta, as `training.fit` describes.
    """

    objective: str
    skip: bool
    seed: int
    steps: int
    latents: tuple[int, ...] = (50, 100)
    hidden: tuple[int, int] = (200, 100)
    batch_size: int = 100
    learning_rate: float = 1e-3
    every: int = 50
    gradients: bool = False


@dataclass(frozen=True)
class RunResult:
    """What a run leaves: `history` as in `training.Fit`, and `validation`, the mean terms on the validation split."""

    config: RunConfig
    history: pd.DataFrame
    validation: dict[str, float]


def run(config: RunConfig, progress: bool = False) -> RunResult:
    """Train one model on the CPU as `config` says and evaluate it on the validation split.

    Raises:
        ValueError: if the objective is unknown or a size does not make sense.
        NonFiniteLossError: if training diverges.
    """
    follow = objective(config.objective)
    torch.set_num_threads(1)  # runs share a machine: one thread each is faster, and never collapses
    images = mnist("train").images
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = HierarchicalVAE(config.latents, config.hidden, config.skip).start_at_mean(images)
    fitted = fit(
        model,
        follow,
        images,
        config.steps,
        config.seed,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        every=config.every,
        gradients=config.gradients,
        progress=progress,
        label=f"{config.objective} {'skip' if config.skip else 'plain'} {config.seed}",
    )
    return RunResult(config, fitted.history, mean_terms(model, mnist("validation").images, _VALIDATION_SEED))


def run_all(configs: Iterable[RunConfig], executor: Executor, progress: bool = True) -> list[RunResult]:
    """Train every config on `executor` and return the results in the order of the configs.

    Only configs and tables travel between processes; each worker reads the data itself.

    Raises:
        Exception: the first error of a run; runs not yet started are cancelled then.
    """
    futures = [executor.submit(run, config) for config in configs]
    try:
        for future in tqdm(as_completed(futures), total=len(futures), desc="runs", disable=not progress):
            future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [future.result() for future in futures]
