"""What "more stable" may mean where v is the number of objects."""

import math

from pandas import DataFrame, Series

from condkl_studies.margins import at_most, below
from condkl_studies.plans.stability_counting import RATES
from condkl_studies.predictions import Judged, span, written
from condkl_studies.results import where

predicts = written("29 November 2026", "983fdf0")
GUESSING = -1024 * math.log(2)  # nats: an even chance for each of 32 × 32 pixels
EARLY = 1000  # steps


@predicts(65)
def _it_breaks_at_the_same_rates(stability_counting: DataFrame, stability_counting_curves: DataFrame) -> Judged:
    r"""**{eq}`eq-9` breaks at the same learning rates, with a discrete $v$ too.** The least rate at which a seed breaks
    is at most one place of the grid away from that of the full gradient. A run breaks if a term of its ELBO is not
    finite, or if a window's mean ELBO is below that of guessing each pixel. *Reason:* as with a continuous $v$: what
    breaks are the scales of $\phi$ and the decoder, which {eq}`eq-9` trains as before."""
    low = stability_counting_curves.groupby("run")["elbo"].min().reindex(stability_counting["run"]) < GUESSING
    rows = stability_counting.assign(broken=stability_counting.diverged_at.notna() | low.to_numpy())
    first = [_first_place(where(rows, objective=name)) for name in ("full", "modified")]
    words = [f"{RATES[place]:g}" if place < len(RATES) else "none" for place in first]
    return at_most(
        abs(first[0] - first[1]), 1
    ), f"the least learning rates that break, full and eq. (9): {words[0]}, {words[1]}."


@predicts(66)
def _the_signal_is_no_clearer(stability_counting_curves: DataFrame) -> Judged:
    r"""**It makes the signal no clearer.** At the rate of 0.001, over the first 1,000 steps, the ratio of signal to
    noise of the gradient that theta follows, the square of its norm over the variance that one sample of $n$ adds,
    under {eq}`eq-9` is less than 1.5 times that under the full gradient, in the mean over seeds, each in its own
    training. *Reason:* the noise without a baseline has the size of the reward, which is that of $R$, and the signal is
    what differs between numbers of objects; $c(n)$ is the smaller part of both."""
    rows = where(stability_counting_curves, learning_rate=1e-3)
    rows = rows[rows.step <= EARLY]
    full, modified = (_clarity(where(rows, objective=name), name) for name in ("full", "modified"))
    ratio = modified / full
    return (
        below(ratio.mean(), 1.5),
        f"the ratio of signal to noise under eq. (9) over that under the full one is {span(ratio)}.",
    )


def _first_place(rows: DataFrame) -> int:
    """The place in the grid of the least rate with a broken run; one after the last if there is none."""
    places = [place for place, rate in enumerate(RATES) if where(rows, learning_rate=rate).broken.any()]
    return min(places, default=len(RATES))


def _clarity(rows: DataFrame, objective: str) -> Series:
    """By seed, the mean square of the gradient's norm over the mean variance that one sample of n adds."""
    squares = rows.assign(pull=rows[f"pull_{objective}"] ** 2, noise=rows[f"noise_n_{objective}"] ** 2)
    means = squares.groupby("seed")[["pull", "noise"]].mean()
    return means.pull / means.noise
