"""Five layers with states again, with a KL warm-up and without."""

from condkl_studies.plans import LATER, Study, grid
from condkl_studies.plans.deep_five import FIVE

OBJECTIVES = ("full", "modified", "kl_warm_up", "modified+kl_warm_up")
STUDY = Study(
    "Five layers with states, the full gradient and {eq}`eq-9`, each with a KL warm-up and without, and new seeds.",
    grid(LATER, seed=range(3, 8), latents=[FIVE], residual=[True], objective=OBJECTIVES),
)
