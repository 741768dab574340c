"""One sample of n instead of the sum over all, with three baselines."""

from dataclasses import replace

from condkl_studies.counting.objective import ESTIMATORS
from condkl_studies.plans import Study
from condkl_studies.plans.counting import BLIND, COUNTING, ways

#: Rows every 100 steps, with the gradient of theta and its noise at the last batch.
MEASURED = [replace(start, every=100, validate_every=5, gradient_batches=1) for start in (COUNTING, BLIND)]
STUDY = Study(
    "A discrete $v$: theta by the score function at one sample of $n$, without a baseline, with the mean of the other "
    "images, and with a learned one, beside the exact sum.",
    tuple(
        replace(one, estimator=estimator)
        for start in MEASURED
        for estimator in ESTIMATORS
        for one in ways(start, ["full", "modified"], 5)
    ),
)
