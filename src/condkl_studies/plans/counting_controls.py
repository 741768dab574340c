"""Where `counting` may go otherwise: another prior of n, and more digits."""

from dataclasses import replace

from condkl_studies.plans import Study
from condkl_studies.plans.counting import BLIND, COUNTING, MAIN, ways

RATIO = 0.1  # p(n + 1) / p(n) of the prior that favours the empty canvas
STUDY = Study(
    "A discrete $v$: a prior that favours few objects, and up to four digits that overlap.",
    tuple(one for start in (COUNTING, BLIND) for one in ways(replace(start, count_ratio=RATIO), MAIN, 5))
    + tuple(one for start in (COUNTING, BLIND) for one in ways(replace(start, data="four_digits"), MAIN, 5)),
)
