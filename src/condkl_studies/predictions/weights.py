"""Fixed weights λ between one half and 1."""

from itertools import pairwise

from pandas import DataFrame, concat

from condkl_studies.margins import above, at_least, below, every, lower
from condkl_studies.plans.controlled import DATA
from condkl_studies.predictions import PLAIN, SKIP, Judged, gaps, span, written
from condkl_studies.predictions.controlled import of_each
from condkl_studies.results import minus, where

predicts = written("23 November 2026", "0547be9")


@predicts(27)
def _the_layer_lives_at_0_9(weights: DataFrame) -> Judged:
    r"""**At $\lambda = 0.9$ the layer lives on MNIST.** With $p(x \given u)$, $A > 1$ and at least one active unit of
    $v$, in every seed. *Reason:* 0.9 is above 0.75."""
    found = where(weights, data="mnist", decoder=PLAIN, method="lambda=0.9")
    return above(found.val_A, 1) & at_least(found.active_v.min(), 1), _words("0.9", found)


@predicts(28)
def _the_layer_is_lost_at_0_7(weights: DataFrame) -> Judged:
    r"""**At $\lambda = 0.7$ it is lost.** With $p(x \given u)$, $A < 0.1$ in every seed. *Reason:* 0.7 is
    below 0.75."""
    found = where(weights, data="mnist", decoder=PLAIN, method="lambda=0.7")
    return below(found.val_A, 0.1), _words("0.7", found)


@predicts(29)
def _in_the_known_models_it_is_lost_at_0_9(weights: DataFrame) -> Judged:
    r"""**In the known models it is lost at $\lambda = 0.9$ already:** $A < 0.1$ in every seed of all three. *Reason:*
    0.9 is below 0.94."""
    known = where(weights[weights.data.isin(DATA)], method="lambda=0.9")
    return below(known.val_A, 0.1), f"A at λ = 0.9, in nats: {of_each(known)}."


@predicts(30)
def _near_1_the_price_is_small(weights: DataFrame, main: DataFrame) -> Judged:
    r"""**Near 1 the price is small.** At $\lambda = 0.9$ the mean test ELBO is within 0.5 nats of that of the full
    gradient, with both decoders. *Reason:* for a fixed model the loss is of second order in $1 - \lambda$ (chapter
    [7](07_the_vae.ipynb)). With $p(x \given u, v)$, $\lambda = \tfrac12$ cost 1.7 nats, and a 25th of that is less than
    0.1."""
    plain, skip = gaps(concat([weights, main]), "elbo", "lambda=0.9", data="mnist")
    words = f"{plain:+.2f} nats with p(x|u), and {skip:+.2f} with p(x|u,v)"
    return below(
        [abs(plain.mean), abs(skip.mean)], 0.5
    ), f"at λ = 0.9 the test ELBO minus that of the full gradient is {words}."


@predicts(31)
def _with_skip_the_layer_shrinks_with_the_weight(weights: DataFrame, main: DataFrame) -> Judged:
    r"""**With $p(x \given u, v)$ the layer shrinks with $\lambda$.** $A$ at $\lambda = 0.9$ is below that of the full
    gradient, at 0.7 below that at 0.9, and at $\tfrac12$ below that at 0.7."""
    methods, both = ("full", "lambda=0.9", "lambda=0.7", "lambda=0.5"), concat([weights, main])
    steps = [minus(both, "val_A", lower, higher, decoder=SKIP) for higher, lower in pairwise(methods)]
    return every(map(lower, steps)), (
        f"with p(x|u,v), A at λ = 0.9 minus that of the full gradient is {steps[0]:+.2f} nats, at 0.7 minus 0.9 "
        f"{steps[1]:+.2f}, at ½ minus 0.7 {steps[2]:+.2f}."
    )


def _words(weight: str, at: DataFrame) -> str:
    return f"with p(x|u) and λ = {weight}, A is {span(at.val_A)} nats, with {span(at.active_v)} active units of v."
