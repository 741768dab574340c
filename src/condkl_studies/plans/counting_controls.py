"""Where `counting` may go otherwise: other priors, other first objects, more digits."""

from dataclasses import replace

from condkl_studies.plans import Study
from condkl_studies.plans.counting import BLIND, COUNTING, ways

#: Standard deviations of the prior of the scale; `counting` has 0.1.
DOSES = (0.05, 0.2, 0.5, 1.0)
RATIO = 0.1  # p(n + 1) / p(n) of the prior that favours the empty canvas
MAIN = ["full", "modified", "lambda_warm_up", "kl_warm_up", "conditional_warm_up"]
STUDY = Study(
    "A discrete $v$: how far the start may be, first objects that do harm, a prior that favours none, and up to four "
    "digits that overlap.",
    tuple(one for dose in DOSES for one in ways(replace(BLIND, scale_prior=dose), MAIN, 5))
    + ways(replace(COUNTING, glimpse_bias=0.0), [*MAIN, "frozen_count"], 5)
    + ways(replace(BLIND, glimpse_bias=-2.0), MAIN, 5)
    + tuple(one for start in (COUNTING, BLIND) for one in ways(replace(start, count_ratio=RATIO), MAIN, 5))
    + tuple(one for start in (COUNTING, BLIND) for one in ways(replace(start, data="four_digits"), MAIN, 5)),
    open=True,
)
