"""Learning rates up to the first at which training breaks, where theta follows the score function."""

from dataclasses import replace

from condkl_studies.plans import Study, grid
from condkl_studies.plans.counting import COUNTING

RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 16e-3)
STEADY = replace(
    COUNTING,
    steps=3000,
    every=100,
    validate_every=5,
    gradient_batches=1,
    likelihood_images=0,
    likelihood_samples=0,
    estimator="score",
    may_diverge=True,
)
STUDY = Study(
    "Is {eq}`eq-9` more stable where $v$ is discrete? As in `stability`, for the number of objects, by one sample of "
    "$n$ without a baseline.",
    grid(STEADY, seed=range(5), learning_rate=RATES, objective=("full", "modified")),
)
