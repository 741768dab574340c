"""The protocol of Burda, Grosse & Salakhutdinov (2015), up to its sixth stage of eight."""

from dataclasses import replace

from condkl_studies.config import RunConfig
from condkl_studies.plans import LATER, Study, epoch

ONE, TWO = (50,), (50, 100)
PROTOCOL = replace(
    LATER,
    data="mnist_whole",
    batch_size=20,
    learning_rate=1e-3,
    every=3000,  # an epoch
    gradient_batches=0,
    validate_every=13,
    likelihood_images=10_000,
    likelihood_samples=5000,
)


def until(schedule: str, epochs: int) -> tuple[RunConfig, ...]:
    """One layer, and two by the full gradient and by eq. (9), with a schedule that is over after so many epochs."""
    over = replace(PROTOCOL, schedule=schedule, steps=epochs * epoch(PROTOCOL))
    ways = (ONE, "full"), (TWO, "full"), (TWO, "modified")
    return tuple(replace(over, latents=latents, objective=objective) for latents, objective in ways)


STUDY = Study(
    "The published protocol: batches of 20, all 60,000 images, a rate that falls in stages, 5,000 draws on all test "
    "images. One layer, and two layers by the full gradient and by {eq}`eq-9`, with $p(x \\given u)$ and one seed, for "
    "364 of its 3,280 epochs.",
    until("six_stages", 364),
)
