"""How far from its prior the start of `counting` may be."""

from dataclasses import replace

from condkl_studies.plans import Study
from condkl_studies.plans.counting import BLIND, MAIN, ways

#: Standard deviations of the prior of the scale; `counting` has 0.1.
DOSES = (0.05, 0.2, 0.5, 1.0)
STUDY = Study(
    "A discrete $v$: how far from its prior the start may be.",
    tuple(one for dose in DOSES for one in ways(replace(BLIND, scale_prior=dose), MAIN, 5)),
)
