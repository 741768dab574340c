"""Five layers, with and without states that add up."""

from condkl_studies.plans import LATER, Study, grid
from condkl_studies.plans.deep import OBJECTIVES

FIVE = (6, 12, 25, 50, 100)  # each layer half as wide as the one below it, rounded down
STUDY = Study(
    "Five layers, trained as three are in `deep`.",
    grid(LATER, seed=range(3), latents=[FIVE], residual=(False, True), objective=OBJECTIVES),
)
