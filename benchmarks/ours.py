"""The contestant that this library is: the step of the studies."""

import copy

import numpy as np
import torch

from benchmarks.problem import Problem
from condkl.objectives import full
from condkl.vae import HierarchicalVAE
from condkl_studies.schedules import TrainingConfig
from condkl_studies.training import State, windows

_ENDLESS = 10**9  # steps; the bench stops when it has seen enough


class Ours:
    """`condkl_studies.training.windows`: whole steps on windows of randomness drawn ahead."""

    def __init__(self, problem: Problem, seed: int, compiled: bool = False) -> None:
        torch.set_num_threads(1)
        images = torch.from_numpy(problem.images)
        model = HierarchicalVAE(problem.latents, problem.hidden, pixels=images.shape[1])
        model.load_state_dict({name: torch.from_numpy(value) for name, value in problem.weights.items()})
        plan = TrainingConfig(_ENDLESS, problem.batch_size, problem.learning_rate, every=problem.window)
        self._seed, self._compiled = seed, compiled
        self._state = State.start(model)
        self._windows = windows(self._state, full, images, plan, seed, compiled)

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
        for _ in windows(state, full, torch.from_numpy(bits * np.uint8(255)), plan, self._seed, self._compiled):
            pass
        return np.array([-row["elbo"] for row in state.rows])
