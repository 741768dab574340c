"""150 epochs in place of 40."""

from dataclasses import replace

from condkl_studies.plans import BASE, DECODERS, EPOCH, Study

STUDY = Study(
    "Three ways of training for 150 epochs.",
    tuple(
        replace(
            BASE,
            objective=objective,
            skip=skip,
            seed=seed,
            steps=150 * EPOCH,
            validate_every=5,
            likelihood_images=10_000 if seed == 0 else 1000,
            likelihood_samples=5000,
        )
        for seed in range(3)
        for skip in DECODERS
        for objective in ("full", "modified", "lambda_warm_up")
    ),
)
