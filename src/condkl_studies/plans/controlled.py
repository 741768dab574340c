"""Data from known models."""

from dataclasses import replace

from condkl_studies.plans import BASE, EPOCH, Study, grid

DATA = ("tight", "loose", "crossed")
#: A run on data from a known model.
KNOWN = replace(BASE, steps=20 * EPOCH, latents=(1, 2), hidden=(50, 25))
OBJECTIVES = ("full", "modified", "lambda_warm_up", "lambda_drop")
STUDY = Study(
    "Data from a known hierarchical model, whose true evidence can be computed.",
    grid(KNOWN, seed=range(3), data=DATA, objective=OBJECTIVES),
)
