"""The one source of seeded randomness: a stream of its own for each seed and purpose."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from condkl._checks import at_least_zero

# What a stream is for. Numbers stay as they are: with another one, other numbers are drawn.
# The order of images, what a window draws, gradients, their noise, canvases.
ORDER, WINDOW, ASIDE, NOISE, CANVASES = range(5)
_GLOBAL = threading.Lock()  # around torch's global stream


def seeded(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator on that device that begins at `seed`, a whole number of at least 0."""
    return torch.Generator(device).manual_seed(at_least_zero("seed", seed))


def stream(seed: int, purpose: int, index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for each seed, purpose and index, independent of all others."""
    entropy = (at_least_zero("seed", seed), purpose, index)
    return seeded(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0], device)


@contextmanager
def seeded_globally(seed: int) -> Iterator[None]:
    """Seed torch's global stream, from which layers draw their first weights, and put it back afterwards."""
    with _GLOBAL, torch.random.fork_rng(devices=[]):
        torch.manual_seed(at_least_zero("seed", seed))
        yield
