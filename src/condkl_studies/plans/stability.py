"""Learning rates up to the first at which training breaks."""

from dataclasses import replace

from condkl_studies.plans import DECODERS, EPOCH, LATER, Study, grid

RATES = (1e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3, 12e-3)
OBJECTIVES = ("full", "modified")
#: A constant rate, so that every step of a run is a test of the same one.
STEADY = replace(
    LATER,
    steps=20 * EPOCH,
    schedule="constant",
    every=EPOCH // 2,
    gradient_batches=0,
    noise_batches=10,
    validate_every=10,
    likelihood_images=0,
    likelihood_samples=0,
    may_diverge=True,
)
STUDY = Study(
    "Is {eq}`eq-9` more stable? The spread over seeds, the noise of $\\theta$'s gradient, spikes of the loss, and the "
    "steps to a level, at learning rates up to the first that breaks.",
    grid(STEADY, seed=range(5), learning_rate=RATES, skip=DECODERS, objective=OBJECTIVES),
)
