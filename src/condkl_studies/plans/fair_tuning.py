"""The choice of a learning rate for each cell of `fair`."""

from dataclasses import replace

from condkl_studies.plans import DECODERS, LATER, Study, grid

RATES = (1e-3, 2e-3, 4e-3)
OBJECTIVES = (
    *("modified", "lambda=0.9", "full"),
    *("modified+kl_warm_up", "lambda=0.9+kl_warm_up", "kl_warm_up"),
    *("modified+free_bits_top", "lambda=0.9+free_bits_top", "free_bits_top"),
)
#: Another seed than those of any comparison. The loss of a rate that is too high is a result.
TUNED = replace(
    LATER, seed=101, gradient_batches=0, validate_every=10, likelihood_images=0, likelihood_samples=0, may_diverge=True
)
STUDY = Study(
    "The choice of the learning rate for each way of training and each decoder of `fair`, on the validation images, as "
    "long as its runs.",
    grid(TUNED, skip=DECODERS, objective=OBJECTIVES, learning_rate=RATES),
)
