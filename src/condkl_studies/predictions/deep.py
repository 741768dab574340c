"""Three layers and five."""

import pandas as pd
from pandas import DataFrame

from condkl_studies.margins import above, below, higher, lower
from condkl_studies.predictions import PLAIN, Judged, span, written
from condkl_studies.results import minus, where

predicts = written("29 November 2026", "1fdc9cf")
RESIDUAL = "residual"


@predicts(
    41,
    foreshadowed="A look of one seed and 8 epochs at four layers had 0.01 of 20.3 nats above the lowest layer. With "
    "states the lowest had 82% of the KL under eq. (9), and 10% under the full gradient. Looks of 4 epochs under the "
    "full gradient alone, at three layers, and at five without states, agree.",
)
def _what_is_above_the_lowest_layer_falls_silent(deep: DataFrame, deep_five: DataFrame) -> Judged:
    r"""**Under {eq}`eq-9` what is above the lowest layer falls silent, at both depths.** With $p(x \given z_1)$ the KLs
    above it sum to less than 0.1 nats in every seed. With states to which every layer adds, the lowest layer has more
    than half of all KL in every seed, and less than half under the full gradient. *Reason:* every posterior above the
    lowest is in the place of that of $v$: it pays its own KL, and is not credited with what it saves below. Where the
    decoder sees the lowest layer alone and learns, each layer above is redundant but for what a Gaussian cannot
    express, and any $\lambda < 1$ lets it die. Where a layer reaches $x$ itself, it keeps what $R$ rewards."""
    lowest = [deep.assign(lowest=deep.val_C2), deep_five.assign(lowest=deep_five.val_C4)]
    both = pd.concat(lowest, ignore_index=True)
    total = both.val_A + both.val_C
    both = both.assign(upper=total - both.lowest, share=100 * both.lowest / total)
    cut, full = (where(both, method=method) for method in ("modified", "full"))
    upper = where(cut, decoder=PLAIN).upper
    shares = [where(table, decoder=RESIDUAL).share for table in (cut, full)]
    return below(upper, 0.1) & above(shares[0], 50) & below(shares[1], 50), (
        f"under eq. (9) with p(x|z₁) the KLs above the lowest layer sum to {span(upper)} nats; with states the lowest "
        f"has {span(shares[0])}% of all KL, and {span(shares[1])}% under the full gradient."
    )


@predicts(42)
def _the_price_is_that_of_two_layers(deep: DataFrame, main: DataFrame) -> Judged:
    r"""**With $p(x \given z_1)$ the price is that of two layers.** At three layers the test ELBO of {eq}`eq-9` minus
    that of the full gradient is below zero, and its mean is within 0.7 nats of that at two layers with $p(x \given u)$,
    which is −1.65. *Reason:* {eq}`eq-9` leaves a one-layer VAE at any depth, and a third layer that the decoder does
    not see adds little to the second. A look of one seed and 8 epochs at four layers had no such price: we take it for
    too short."""
    here = minus(deep, "elbo", "modified", decoder=PLAIN)
    there = minus(main, "elbo", "modified", decoder=PLAIN)
    words = f"{here:+.2f} nats at three layers, and {there:+.2f} at two"
    return lower(here) & below(abs(here.mean - there.mean), 0.7), f"with p(x|z₁) eq. (9) minus full is {words}."


@predicts(43)
def _a_weight_near_one_gains_nothing(deep: DataFrame) -> Judged:
    r"""**$\lambda = 0.9$ gains nothing in depth either.** At three layers with states, its likelihood estimate minus
    that of the full gradient has an interval that is not entirely above zero, and a mean between −0.5 and 0.3 nats.
    *Reason:* the loss is of second order in $1 - \lambda$, with a hundredth of the variance of the conditional KLs, and
    the only gain that theory has for $\lambda < 1$ at the end, less noise in the gradient, is small where the latents
    are reparameterised. A look of one seed at four layers had 0.9 ahead by 0.3 nats."""
    gap = minus(deep, "log_likelihood", "lambda=0.9", decoder=RESIDUAL)
    words = f"{gap:+.2f} nats of likelihood estimate at three layers with states"
    return ~higher(gap) & above(gap.mean, -0.5) & below(gap.mean, 0.3), f"λ = 0.9 minus full is {words}."


@predicts(44)
def _balancing_tempers_below_and_wakes_above(deep: DataFrame) -> Judged:
    r"""**KL balancing tempers the lower layers, where {eq}`eq-9` tilts the upper ones.** At three layers with $p(x
    \given z_1)$, its test $R$ is above that of the full gradient, its test ELBO is more than 3 nats below, and $A$ of
    its top layer is above. *Reason:* a posterior that meets its KL with weight $\kappa = 0.2$ is optimal at $p(z_l
    \given z_{l+1})$ times the likelihood to the power of $1/\kappa$: it follows the data at five times their weight,
    which raises $R$ and costs more $C$ than that. To the layer above, a sharper layer below is data with less noise, so
    that more of its directions are worth their KL."""
    R, elbo, A = (minus(deep, column, "kl_balancing", decoder=PLAIN) for column in ("R", "elbo", "val_A"))
    words = f"{R:+.2f} nats of R, {elbo:+.2f} of test ELBO and {A:+.2f} of A"
    held = higher(R) & lower(elbo) & below(elbo.mean, -3) & higher(A)
    return held, f"with p(x|z₁), KL balancing minus full is {words}."
