"""The choice of the learning rate and its schedule."""

from dataclasses import replace

from condkl_studies.plans import BASE, EPOCH, Study, grid

SHORT = replace(
    BASE, steps=12 * EPOCH, seed=100, gradient_batches=0, validate_every=2, likelihood_images=0, likelihood_samples=0
)
STUDY = Study(
    "The choice of the learning rate and its schedule, on the validation images, for the full gradient.",
    grid(SHORT, learning_rate=(5e-4, 1e-3, 2e-3, 4e-3), schedule=("constant", "cosine"))
    # The two best again, as long as the runs of `main`.
    + grid(SHORT, steps=[BASE.steps], learning_rate=(2e-3, 4e-3)),
)
