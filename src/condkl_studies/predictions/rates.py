"""Eq. (9) at other learning rates."""

from functools import partial

import pandas as pd
from pandas import DataFrame

from condkl_studies.predictions import DECODERS, PLAIN, SKIP, Judged, prediction, span
from condkl_studies.results import paired, where

predicts = partial(prediction, date="23 November 2026", commit="2e93de0")


@predicts(32)
def _no_rate_brings_the_layer_back(rates: DataFrame) -> Judged:
    r"""**No rate brings the layer back.** With $p(x \given u)$ and {eq}`eq-9`, $A < 0.1$ at both rates, in every seed.
    *Reason:* in the theory the rate has no part in the loss of the layer.
    """
    plain = where(rates, decoder=PLAIN)
    words = (f"{span(found.val_A)} nats at the rate {rate:g}" for rate, found in plain.groupby("learning_rate"))
    return (plain.val_A < 0.1).all(), f"with p(x|u) and eq. (9), A is {' and '.join(words)}."


@predicts(33)
def _at_its_best_rate_eq_9_stays_behind(rates: DataFrame, main: DataFrame) -> Judged:
    """**At its best rate {eq}`eq-9` stays behind.** With each decoder, its test ELBO at the rate of the three, 0.001,
    0.002 and 0.004, that has the highest mean is below that of the full gradient at 0.002. *Reason:* what it lacks is
    the layer.
    """
    both = pd.concat([rates, main[main.seed.isin(set(rates.seed))]])
    best, gaps = {}, {}
    for decoder in DECODERS:
        cut = {"method": "modified", "decoder": decoder}
        best[decoder] = where(both, **cut).groupby("learning_rate").elbo.mean().idxmax()
        full = {"method": "full", "decoder": decoder, "learning_rate": 0.002}
        gaps[decoder] = paired(both, "elbo", cut | {"learning_rate": best[decoder]}, full)
    return all(gap.high < 0 for gap in gaps.values()), (
        f"the best rate of eq. (9) is {best[PLAIN]:g} with p(x|u) and {best[SKIP]:g} with p(x|u,v); there its test "
        f"ELBO minus that of the full gradient at 0.002 is {gaps[PLAIN]:+.2f} and {gaps[SKIP]:+.2f} nats."
    )
