"""The comparison of `main` on Fashion-MNIST."""

from dataclasses import replace

from condkl_studies.plans import BASE, DECODERS, Study

FASHION = replace(BASE, data="fashion")
STUDY = Study(
    "The comparison of `main` on Fashion-MNIST: four ways of training, two decoders, five seeds, 40 epochs, and the "
    "one-layer VAE.",
    (
        *(
            replace(FASHION, objective=objective, skip=skip, seed=seed)
            for seed in range(5)
            for skip in DECODERS
            for objective in ("full", "modified", "lambda_warm_up", "kl_warm_up")
        ),
        *(replace(FASHION, latents=(50,), seed=seed) for seed in range(5)),
    ),
    open=True,
)
