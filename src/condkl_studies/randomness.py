"""The one source of seeded randomness: a stream of its own for each seed and purpose."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

_GLOBAL = threading.Lock()  # around torch's global stream


def stream(seed: int, purpose: int, index: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for each seed, purpose and index, independent of all others."""
    entropy: Any = np.random.SeedSequence((seed, purpose, index)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(entropy))


@contextmanager
def seeded_globally(seed: int) -> Iterator[None]:
    """Seed torch's global stream, from which layers draw their first weights, and put it back afterwards."""
    with _GLOBAL, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
