"""How many objects there are: the discrete v of the post, from three starts, by nine ways of training."""

from dataclasses import replace
from typing import Any

from condkl_studies.config import RunConfig
from condkl_studies.plans import Study, grid

#: Canvases of 32×32 with 0, 1 or 2 digits. The glimpse starts dark enough that a random object costs about nothing.
COUNTING = RunConfig(
    "full",
    skip=False,
    seed=0,
    steps=6000,
    data="two_digits",
    latents=(10,),
    hidden=(128, 128),
    batch_size=64,
    learning_rate=1e-3,
    every=20,
    validate_every=25,
    likelihood_images=200,
    likelihood_samples=1000,
    model="counting",
    glimpse_bias=-2.5,
)
#: A prior of the scale as tight as counting models have it. The start costs 47 nats an object.
FAR = replace(COUNTING, scale_prior=0.1)
#: The same with Gaussian pixels, under which the first objects gain nothing.
BLIND = replace(FAR, pixels="gaussian")
#: The share of the training at which each schedule ends, which `tables.chosen_shares` finds in `counting_tuning`.
UNTIL = {"modified_start": 0.5, "lambda_warm_up": 0.25, "kl_warm_up": 0.5, "conditional_warm_up": 0.5}
#: Every way of training, as settings; `frozen_count` holds q(n|x) at p(n) for a quarter.
WAYS: dict[str, dict[str, Any]] = {
    **{name: {"objective": name} for name in ("full", "modified", "lambda=0.5")},
    **{name: {"objective": name, "until": until} for name, until in UNTIL.items()},
    "frozen_count": {"objective": "frozen_count", "until": 0.25},
    "encoder_at_prior": {"objective": "full", "encoder_at_prior": True},
}
#: The ways that the studies beside this one compare.
MAIN = ["full", "modified", "lambda_warm_up", "kl_warm_up", "conditional_warm_up"]


def ways(start: RunConfig, names: list[str], seeds: int) -> tuple[RunConfig, ...]:
    """Runs from one start by each of these ways, with seeds from 0 on."""
    return tuple(replace(one, **WAYS[name]) for one in grid(start, seed=range(seeds)) for name in names)


EVERY = list(WAYS)
STUDY = Study(
    "A discrete $v$, the number of objects: nine ways of training from a usual start, and from two at which an object "
    "costs far more nats than it gains.",
    ways(FAR, EVERY, 10) + ways(BLIND, EVERY, 10) + ways(COUNTING, EVERY[:-1], 5),
)
