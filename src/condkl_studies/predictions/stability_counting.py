"""What "more stable" may mean where v is the number of objects."""

from pandas import DataFrame

from condkl_studies.margins import at_most, below
from condkl_studies.plans.stability_counting import RATES
from condkl_studies.predictions import Judged, span, written
from condkl_studies.results import where
from condkl_studies.stability import broken, by_seed, first_place, signal_to_noise_of_n

predicts = written("29 November 2026", "983fdf0")
PIXELS = 32 * 32
EARLY = 1000  # steps


@predicts(65)
def _it_breaks_at_the_same_rates(stability_counting: DataFrame, stability_counting_curves: DataFrame) -> Judged:
    r"""**{eq}`eq-9` breaks at the same learning rates, with a discrete $v$ too.** The least rate at which a seed breaks
    is at most one place of the grid away from that of the full gradient. A run breaks if a term of its ELBO is not
    finite, or if a window's mean ELBO is below that of guessing each pixel. *Reason:* as with a continuous $v$: what
    breaks are the scales of $\phi$ and the decoder, which {eq}`eq-9` trains as before."""
    broke = broken(stability_counting, stability_counting_curves, PIXELS)
    rows = stability_counting.assign(broken=broke.to_numpy())
    first = [first_place(where(rows, objective=name), RATES) for name in ("full", "modified")]
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
    full, modified = (by_seed(rows, signal_to_noise_of_n(where(rows, objective=w), w)) for w in ("full", "modified"))
    ratio = modified / full
    return (
        below(ratio.mean(), 1.5),
        f"the ratio of signal to noise under eq. (9) over that under the full one is {span(ratio)}.",
    )
