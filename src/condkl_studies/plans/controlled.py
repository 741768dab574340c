"""Data from known models."""

from dataclasses import replace

from condkl_studies.plans import BASE, EPOCH, Study

DATA = ("tight", "loose", "crossed")
#: A run on data from a known model.
KNOWN = replace(BASE, steps=20 * EPOCH, latents=(1, 2), hidden=(50, 25))
STUDY = Study(
    "Data from a known hierarchical model, whose true evidence can be computed.",
    tuple(
        replace(KNOWN, data=data, objective=objective, seed=seed)
        for seed in range(3)
        for data in DATA
        for objective in ("full", "modified", "lambda_warm_up", "lambda_drop")
    ),
)
