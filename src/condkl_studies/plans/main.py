"""Four ways of training, two decoders, and the one-layer VAE."""

from dataclasses import replace

from condkl_studies.plans import BASE, DECODERS, Study

PAIRS = tuple(
    replace(BASE, objective=objective, skip=skip, seed=seed)
    for seed in range(5)
    for skip in DECODERS
    for objective in ("full", "modified", "lambda=0.5", "lambda_warm_up")
)
STUDY = Study(
    "The comparison of chapters [10](10_results.ipynb) and [11](11_the_verdict.ipynb): four ways of training, "
    "two decoders, five seeds, 40 epochs, and the one-layer VAE.",
    (*PAIRS, *(replace(BASE, latents=(50,), seed=seed) for seed in range(5))),
)
