"""Where the first objects do harm: a glimpse that starts brighter than that of `counting`."""

from dataclasses import replace

from condkl_studies.plans import Study
from condkl_studies.plans.counting import BLIND, COUNTING, MAIN, ways

STUDY = Study(
    "A discrete $v$: first objects that do harm.",
    ways(replace(COUNTING, glimpse_bias=0.0), [*MAIN, "frozen_count"], 5)
    + ways(replace(BLIND, glimpse_bias=-2.0), MAIN, 5),
)
