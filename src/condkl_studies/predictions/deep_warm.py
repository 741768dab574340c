"""Five layers again, with a KL warm-up and without."""

from pandas import DataFrame

from condkl_studies.margins import above, between, every, higher, lower
from condkl_studies.predictions import Judged, span, written
from condkl_studies.results import differences, minus

predicts = written("1 December 2026", "bf0f1c1")
ELBO = "elbo"
MEASURES = (ELBO, "log_likelihood")
BOTH = "modified+kl_warm_up"


@predicts(69)
def _beside_a_warm_up_it_loses(deep_warm: DataFrame) -> Judged:
    r"""**With a KL warm-up under both, {eq}`eq-9` loses at five layers too.** The test ELBO of {eq}`eq-9` with a KL
    warm-up minus that of the full gradient with one has an interval below zero and a mean between −4 and −0.5 nats,
    and so has the likelihood estimate. The lowest layer has more KL under {eq}`eq-9`, by more than a nat on average.
    *Reason:* the two without a warm-up were not told apart because the full gradient leaves middle layers idle early
    on, and they do not come back. A warm-up brings all layers to life under either, and then {eq}`eq-9` pays, as it
    does at two and three layers, for what the upper ones are not credited with."""
    gaps = {name: minus(deep_warm, name, BOTH, "kl_warm_up") for name in (*MEASURES, "val_C4")}
    lost = every(lower(gaps[name]) & between(gaps[name].mean, -4, -0.5) for name in MEASURES)
    words = "{elbo:+.2f} nats of test ELBO, {log_likelihood:+.2f} of likelihood estimate and {val_C4:+.2f} of KL in "
    return lost & higher(gaps["val_C4"]) & above(gaps["val_C4"].mean, 1), (
        f"eq. (9) minus the full gradient, each with a KL warm-up, is {words.format_map(gaps)}the lowest layer."
    )


@predicts(
    70, foreshadowed="The three seeds of deep_five have all of it: +0.26 nats of ELBO, and the warm-up above both ways."
)
def _a_warm_up_is_worth_more_than_the_choice(deep_warm: DataFrame) -> Judged:
    r"""**Without a warm-up the two are alike again, and a warm-up is worth more than the choice between them.** The
    test ELBO of {eq}`eq-9` minus that of the full gradient has a mean between −1.5 and 1.5 nats. That of the full
    gradient with a KL warm-up is above both in every seed, by more than 1.5 nats. *Reason:* both have lost layers by
    other ways to lose them. A warm-up loses none, and what it keeps is worth 2 to 5 nats in `deep_five`."""
    gap = minus(deep_warm, ELBO, "modified")
    behind = differences(deep_warm, ELBO, "kl_warm_up")
    gains = -behind[behind.method.isin(["full", "modified"])].difference
    return between(gap.mean, -1.5, 1.5) & above(gains, 1.5), (
        f"eq. (9) minus the full gradient is {gap:+.2f} nats of test ELBO, and the warm-up gains {span(gains)} nats "
        "over either."
    )
