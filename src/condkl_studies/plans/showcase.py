"""Runs that are filmed: eight pictures along the training."""

from dataclasses import replace

from condkl_studies.plans import DECODERS, LATER, Study, grid
from condkl_studies.plans.counting import COUNTING, FAR, ways

PICTURES = 8
FILMED = (
    *grid(LATER, skip=DECODERS, objective=("full", "modified")),
    *ways(COUNTING, ["full", "modified"], 1),
    *ways(FAR, ["full", "lambda_warm_up"], 1),
)
STUDY = Study(
    "What four runs with the settings of `main` and four with those of `counting` see and dream along their training.",
    tuple(replace(one, pictures=PICTURES) for one in FILMED),
)
