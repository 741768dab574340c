"""The choice of how long the schedules of `counting` last."""

from dataclasses import replace

from condkl_studies.plans import Study, grid
from condkl_studies.plans.counting import BLIND, FAR, UNTIL

SHARES = (0.125, 0.25, 0.5)
#: Other seeds than those of any comparison.
TUNED = [replace(start, likelihood_images=0, likelihood_samples=0) for start in (FAR, BLIND)]
STUDY = Study(
    "The choice of the share of the training at which each schedule of `counting` ends, one for all its starts, on the "
    "validation images.",
    tuple(one for start in TUNED for one in grid(start, seed=(102, 103), objective=UNTIL, until=SHARES)),
)
