"""Fixed weights λ between one half and 1."""

from dataclasses import replace

from condkl_studies.plans import BASE, DECODERS, Study
from condkl_studies.plans.controlled import DATA, KNOWN

STUDY = Study(
    "Fixed weights $\\lambda$ of the conditional KL between one half and 1: a test of an account that chapter "
    "[10](10_results.ipynb) gives of failed predictions.",
    (
        *(
            replace(BASE, objective=objective, skip=skip, seed=seed)
            for seed in range(5)
            for skip in DECODERS
            for objective in ("lambda=0.9", "lambda=0.7")
        ),
        *(replace(KNOWN, data=data, objective="lambda=0.9", seed=seed) for seed in range(3) for data in DATA),
    ),
)
