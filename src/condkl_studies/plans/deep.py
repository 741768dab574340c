"""Three layers, with and without states that add up."""

from condkl_studies.plans import LATER, Study, grid

THREE = (25, 50, 100)  # each layer half as wide as the one below it
OBJECTIVES = ("full", "modified", "lambda=0.9", "kl_warm_up", "free_bits", "kl_balancing")
STUDY = Study(
    "Three layers: six ways of training, with a decoder that sees the lowest layer alone, and with states to which "
    "every layer adds.",
    grid(LATER, seed=range(5), latents=[THREE], residual=(False, True), objective=OBJECTIVES),
)
