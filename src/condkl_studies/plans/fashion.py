"""The comparison of `main` on Fashion-MNIST."""

from dataclasses import replace

from condkl_studies.plans import BASE, DECODERS, Study, grid

FASHION = replace(BASE, data="fashion")
OBJECTIVES = ("full", "modified", "lambda_warm_up", "kl_warm_up")
STUDY = Study(
    "The comparison of `main` on Fashion-MNIST: four ways of training, two decoders, five seeds, 40 epochs, and the "
    "one-layer VAE.",
    grid(FASHION, seed=range(5), skip=DECODERS, objective=OBJECTIVES) + grid(FASHION, seed=range(5), latents=[(50,)]),
)
