"""Runs as the study `showcase` has them, made up: eight moments, forty rows, and pictures that say what they are."""

from dataclasses import replace

import numpy as np
import pandas as pd

from condkl_studies import plans
from condkl_studies.store import RunResult

STEPS, MOMENTS = 400, 8


def filmed():
    """The four runs with digits and the two that count from a usual start."""
    configs = [config for config in plans.study("showcase").configs if not config.scale_prior]
    return [made_up(replace(config, steps=STEPS, every=10)) for config in configs]


def made_up(config):
    random = np.random.default_rng(len(config.objective) + 10 * config.skip)
    rows = pd.DataFrame(random.uniform([-90, 1, 9], [-80, 9, 20], (STEPS // 10, 3)), columns=["R", "A", "C"])
    rows.insert(0, "step", 10 * np.arange(1, len(rows) + 1))
    samples = sampled() if config.hierarchical else counted()
    return RunResult(config, rows, {f"film_{name}": np.stack([one] * MOMENTS) for name, one in samples.items()}, {})


def sampled():
    """Samples in one grey each: as many tens as the row of v, and as many ones as the column of u."""
    grey = 10 * np.arange(8)[:, None, None] + np.arange(8)[:, None]
    return {"prior_v": np.broadcast_to(grey, (8, 8, 784)).astype(np.uint8)}


def counted():
    """0, 1 or 2 white squares of 14x14 pixels on each canvas, and where they are."""
    seen, where, q = np.zeros((8, 3, 32, 32), np.uint8), np.zeros((8, 2, 3)), np.zeros((8, 3))
    for i, count in enumerate((0, 1, 2, 0, 1, 2, 1, 0)):
        q[i, count] = 1
        for k in range(2):
            row, column = 2 + 15 * k, 3 + i
            where[i, k] = 14 / 32, *((2 * corner + 14) / 32 - 1 for corner in (row, column))
            if k < count:
                seen[i, 0, row : row + 14, column : column + 14] = 255
    return {"seen": seen.reshape(8, 3, -1), "where": where, "q": q}
