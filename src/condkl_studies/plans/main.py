"""Four ways of training, two decoders, and the one-layer VAE."""

from condkl_studies.plans import BASE, DECODERS, Study, grid

OBJECTIVES = ("full", "modified", "lambda=0.5", "lambda_warm_up")
STUDY = Study(
    "The comparison of chapters [7](07_two_layers.ipynb) and [10](10_the_verdict.ipynb): four ways of training, "
    "two decoders, five seeds, 40 epochs, and the one-layer VAE.",
    grid(BASE, seed=range(5), skip=DECODERS, objective=OBJECTIVES) + grid(BASE, seed=range(5), latents=[(50,)]),
)
