"""The choice of the learning rate and its schedule."""

from dataclasses import replace

from condkl_studies.plans import BASE, EPOCH, Study

SHORT = replace(
    BASE, steps=12 * EPOCH, seed=100, gradient_batches=0, validate_every=2, likelihood_images=0, likelihood_samples=0
)
STUDY = Study(
    "The choice of the learning rate and its schedule, on the validation images, for the full gradient.",
    (
        *(
            replace(SHORT, learning_rate=rate, schedule=schedule)
            for rate in (5e-4, 1e-3, 2e-3, 4e-3)
            for schedule in ("constant", "cosine")
        ),
        # The two best again, as long as the runs of `main`.
        *(replace(SHORT, steps=BASE.steps, learning_rate=rate) for rate in (2e-3, 4e-3)),
    ),
)
