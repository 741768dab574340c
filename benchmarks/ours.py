"""The contestants that this library is: the step of the studies, and its estimate of the log-likelihood."""

import copy
from dataclasses import replace

import numpy as np
import torch

from benchmarks.contestants import Estimator
from benchmarks.problem import Problem
from condkl.objectives import full
from condkl.vae import HierarchicalVAE
from condkl_studies import products
from condkl_studies.evaluation import iwae_log_likelihood
from condkl_studies.randomness import seeded
from condkl_studies.schedules import TrainingConfig
from condkl_studies.state import State
from condkl_studies.training import windows

_ENDLESS = 10**9  # steps; the bench stops when it has seen enough


class Ours:
    """`condkl_studies.training.windows`: whole steps on windows of randomness; `rows` lets it sum rows where x is."""

    def __init__(self, problem: Problem, seed: int, compiled: bool = False, rows: bool = True) -> None:
        torch.set_num_threads(1)
        images = torch.from_numpy(problem.images)
        plan = TrainingConfig(_ENDLESS, problem.batch_size, problem.learning_rate, every=problem.window)
        best = products.calls(images, torch.float32)
        self._how = compiled, replace(best, rows=rows and best.rows)
        self._seed, self._state = seed, State.start(model_of(problem))
        self._windows = windows(self._state, full, images, plan, seed, *self._how)

    def advance(self, steps: int) -> None:
        """Train for whole windows, until `steps` more are done."""
        end = self._state.step + steps
        while self._state.step < end:
            next(self._windows)

    def losses(self, bits: np.ndarray, draws: int) -> np.ndarray:
        """The loss that the step itself records, on windows of one step that is too short to move a weight."""
        # Pixels of 0 and 255 are binarised to themselves, and a batch as large as the data set is the data set.
        state = State.start(copy.deepcopy(self._state.model))
        plan = TrainingConfig(draws, len(bits), learning_rate=1e-30, every=1)
        for _ in windows(state, full, torch.from_numpy(bits * np.uint8(255)), plan, self._seed, *self._how):
            pass
        return np.array([-row["elbo"] for row in state.rows])


class OurLikelihood(Estimator):
    """`condkl_studies.evaluation.iwae_log_likelihood`."""

    def __init__(self, problem: Problem, seed: int, compiled: bool = False) -> None:
        super().__init__(problem)
        torch.set_num_threads(1)
        self._model, self._draws, self._compiled = model_of(problem), seeded(seed), compiled
        self._samples = problem.likelihood_samples

    def estimates(self, bits: np.ndarray) -> np.ndarray:
        """As `Estimator` says."""
        x = torch.from_numpy(bits).float()
        return iwae_log_likelihood(self._model, x, self._samples, self._draws, compiled=self._compiled).numpy()


def model_of(problem: Problem) -> HierarchicalVAE:
    """The model before training."""
    model = HierarchicalVAE(problem.latents, problem.hidden, pixels=problem.images.shape[1])
    model.load_state_dict({name: torch.from_numpy(value) for name, value in problem.weights.items()})
    return model
