"""The comparison on MNIST, 150 epochs."""

from pandas import DataFrame

from condkl_studies.margins import below, every, lower, none
from condkl_studies.predictions import PLAIN, SKIP, Judged, span, written
from condkl_studies.results import PUBLISHED, differences, interval, minus, where

predicts = written("22 November 2026", "0ad986a")


@predicts(23)
def _nothing_wakes_up(long: DataFrame) -> Judged:
    r"""**Nothing wakes up.** With $p(x \given u)$, {eq}`eq-9` and the rising $\lambda$ still have $A < 0.1$ and no
    active unit of $v$ after 150 epochs, in every seed."""
    cut, risen = (where(long, method=method, decoder=PLAIN) for method in ("modified", "lambda_warm_up"))
    return every(below(found.val_A, 0.1) & none(found.active_v) for found in (cut, risen)), (
        f"with p(x|u) after 150 epochs: eq. (9) has A of {span(cut.val_A)} nats and {span(cut.active_v)} active units "
        f"of v; λ rising has A of {span(risen.val_A)} nats and {span(risen.active_v)} active units of v."
    )


@predicts(
    24,
    foreshadowed="Two published layers were ahead of one, and an early look on the page had the full gradient ahead.",
)
def _the_full_gradient_ends_ahead(long: DataFrame) -> Judged:
    r"""**The full gradient ends ahead.** With $p(x \given u)$ its log-likelihood estimate is above that of {eq}`eq-9`.
    *Reason:* in the published results two layers are ahead of one by 1.4 nats {cite:p}`burda2015`, and {eq}`eq-9` gives
    the upper layer away."""
    gap = minus(long, "log_likelihood", "modified", decoder=PLAIN)
    return lower(gap), f"eq. (9) minus full is {gap:+.2f} nats of likelihood estimate with p(x|u)."


@predicts(25)
def _with_skip_the_loss_is_smaller(long: DataFrame) -> Judged:
    r"""**With $p(x \given u, v)$ the loss is smaller:** the likelihood difference between full and {eq}`eq-9` is
    smaller in size than with $p(x \given u)$."""
    size = where(differences(long, "log_likelihood"), method="modified").set_index(["decoder", "seed"]).difference.abs()
    more = interval(size[SKIP] - size[PLAIN])
    return lower(more), (
        f"the size of the likelihood difference with p(x|u,v) minus that with p(x|u) is {more:+.2f} nats, over seeds."
    )


@predicts(26, loose="150 epochs are less than a twentieth of the published 3,280.")
def _the_published_numbers_stay_ahead(long: DataFrame) -> Judged:
    """**We stay behind the published numbers.** Every mean log-likelihood estimate is below −85.33, the two-layer
    result of {cite:t}`burda2015`, who trained for 3,280 epochs. *Reason:* 150 epochs, and another posterior: theirs
    runs bottom-up."""
    means = long.groupby(["decoder", "method"]).log_likelihood.mean()
    published = PUBLISHED["two layers"]
    words = f"the best mean likelihood estimate is {means.max():.2f} nats, against {published:.2f}."
    return below(means, published), words.replace("-", "−")
