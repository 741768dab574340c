"""Eq. (9) at other learning rates."""

from pandas import DataFrame, concat

from condkl_studies.margins import below, lower
from condkl_studies.predictions import DECODERS, PLAIN, SKIP, Judged, span, written
from condkl_studies.results import paired, where

predicts = written("23 November 2026", "2e93de0")


@predicts(32)
def _no_rate_brings_the_layer_back(rates: DataFrame) -> Judged:
    r"""**No rate brings the layer back.** With $p(x \given u)$ and {eq}`eq-9`, $A < 0.1$ at both rates, in every seed.
    *Reason:* in the theory the rate has no part in the loss of the layer."""
    plain = where(rates, decoder=PLAIN)
    words = (f"{span(found.val_A)} nats at the rate {rate:g}" for rate, found in plain.groupby("learning_rate"))
    return below(plain.val_A, 0.1), f"with p(x|u) and eq. (9), A is {' and '.join(words)}."


@predicts(33)
def _at_its_best_rate_eq_9_stays_behind(rates: DataFrame, main: DataFrame) -> Judged:
    """**At its best rate {eq}`eq-9` stays behind.** With each decoder, its test ELBO at the rate of the three, 0.001,
    0.002 and 0.004, that has the highest mean is below that of the full gradient at 0.002. *Reason:* what it lacks is
    the layer."""
    both = concat([rates, main[main.seed.isin(rates.seed)]])
    means = where(both, method="modified").groupby(["decoder", "learning_rate"]).elbo.mean()
    best = {decoder: means[decoder].idxmax() for decoder in DECODERS}
    cut, full = {"method": "modified"}, {"method": "full", "learning_rate": 0.002}
    plain, skip = (paired(where(both, decoder=d), "elbo", cut | {"learning_rate": best[d]}, full) for d in DECODERS)
    return lower(plain) & lower(skip), (
        f"the best rate of eq. (9) is {best[PLAIN]:g} with p(x|u) and {best[SKIP]:g} with p(x|u,v); there its test "
        f"ELBO minus that of the full gradient at 0.002 is {plain:+.2f} and {skip:+.2f} nats."
    )
