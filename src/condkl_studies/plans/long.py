"""150 epochs in place of 40."""

from dataclasses import replace

from condkl_studies.plans import BASE, DECODERS, EPOCH, Study, grid

LONG = replace(BASE, steps=150 * EPOCH, validate_every=5, likelihood_samples=5000)
STUDY = Study(
    "Three ways of training for 150 epochs.",
    tuple(
        replace(config, likelihood_images=10_000 if config.seed == 0 else 1000)
        for config in grid(LONG, seed=range(3), skip=DECODERS, objective=("full", "modified", "lambda_warm_up"))
    ),
)
