"""How many objects there are: the discrete v of the post."""

import itertools

from pandas import DataFrame, Series

from condkl_studies.counting.starvation import FEW, RIGHT, starvation
from condkl_studies.margins import above, at_least, at_most, below, between, every, lower, none
from condkl_studies.plans.counting_controls import RATIO
from condkl_studies.plans.counting_doses import DOSES
from condkl_studies.predictions import Judged, each, span, written
from condkl_studies.results import interval, where

predicts = written("29 November 2026", "f3e5a78")
#: The three starts of `counting`: the usual one, and those far from the prior with Bernoulli and with Gaussian pixels.
USUAL, FAR, BLIND = (
    {"scale_prior": 0.0, "pixels": "bernoulli"},
    {"scale_prior": 0.1, "pixels": "bernoulli"},
    {"scale_prior": 0.1, "pixels": "gaussian"},
)
STARTS = {"the usual start": USUAL, "the far start": FAR, "the far start with Gaussian pixels": BLIND}
LATE = {name: STARTS[name] for name in list(STARTS)[1:]}
_PILOT = "Pilot runs of one seed and 3,000 steps"


@predicts(50, foreshadowed=f"{_PILOT} had a mean of 1.5 objects from the usual start and 1.4 from the blind one.")
def _it_sees_what_is_not_there(counting: DataFrame) -> Judged:
    r"""**{eq}`eq-9` sees objects that are not there.** From each of the three starts, its mean number of objects on the
    test images is above the true one by more than 0.15 in every seed. *Reason:* theta follows $R - A$, so that one
    object more costs it nothing where $R$ does not fall, whatever its KL is: the odds are multiplied by
    $e^{c(n+1) - c(n)}$."""
    found = {name: _over(_way(counting, "modified", **start)) for name, start in STARTS.items()}
    held = every(above(over, 0.15) for over in found.values())
    return held, f"under eq. (9) the mean number of objects minus the true one: {_spans(found)}."


@predicts(51)
def _it_goes_where_the_tilt_says(counting: DataFrame) -> Judged:
    r"""**It goes where the tilt says.** In every run of {eq}`eq-9` in `counting` the mean number of objects is closer
    to that under $p(n)\, e^{R(n)} / Z$ than to that under $p(n)\, e^{R(n) - c(n)} / Z$, and the other way round in
    every run of the full gradient. *Reason:* these are the best $q(n \given x)$ for what theta follows, and a network
    of its own can express them."""
    off = {method: _way(counting, method) for method in ("modified", "full")}
    to_R, to_RC = ({m: (t.test_n - t[column]).abs() for m, t in off.items()} for column in ("test_n_R", "test_n_RC"))
    held = (to_R["modified"] < to_RC["modified"]).all() and (to_RC["full"] < to_R["full"]).all()
    nearer = int((to_R["modified"] < to_RC["modified"]).sum()), int((to_RC["full"] < to_R["full"]).sum())
    return held, (
        f"{nearer[0]} of {len(to_R['modified'])} runs of eq. (9) are nearer to the mean under p(n)e^R/Z, off by "
        f"{span(to_R['modified'])}; {nearer[1]} of {len(to_R['full'])} of the full gradient are nearer to that under "
        f"p(n)e^(R−c)/Z, off by {span(to_RC['full'])}."
    )


@predicts(52, foreshadowed=f"{_PILOT} ended so from both starts.")
def _the_full_gradient_starves(counting: DataFrame) -> Judged:
    r"""**From far, the full gradient misses objects.** From both starts at which an object costs 47 nats, its mean
    number of objects on the test images is below 0.85 of the true one in at least 7 of 10 seeds. From the usual start
    it is so in none of 5. *Reason:* while the KLs are large theta learns not to use the second object, and $\phi$ gets
    gradients of the size of $q(n = 2)$: nothing calls it back."""
    found = {name: int((_share(_way(counting, "full", **start)) < FEW).sum()) for name, start in STARTS.items()}
    held = every(at_least(found[name], 7) for name in LATE) & none(found["the usual start"])
    return held, f"seeds with fewer than {FEW} of the objects under the full gradient: {each(found)}."


@predicts(53, foreshadowed=f"{_PILOT} counted right from the blind start.")
def _a_rising_weight_rescues(counting: DataFrame) -> Judged:
    r"""**$\lambda$ that rises counts right.** From both far starts, the likeliest number is right on 95% of the test
    images in at least 8 of 10 seeds. *Reason:* at the start theta does not see what the objects cost, so that both are
    tried until they cost less than they gain; at the end it follows the ELBO, which punishes each that is not there."""
    found = _right_seeds(counting, "lambda_warm_up")
    return every(at_least(n, 8) for n in found.values()), f"seeds that count right with rising λ: {each(found)}."


@predicts(54, foreshadowed=f"{_PILOT} with a warm-up of $C$ counted right from the blind start.")
def _so_do_remedies_without_it(counting: DataFrame) -> Judged:
    r"""**So do remedies that never drop the term.** From both far starts, a warm-up of $C$ alone in all gradients, and
    an encoder that starts at its prior, each count right in no fewer seeds than $\lambda$ that rises, but for one.
    *Reason:* what starves is the price of an object at the start. Both lower it, and $\phi$ sees it too."""
    rising = _right_seeds(counting, "lambda_warm_up")
    found = {way: _right_seeds(counting, way) for way in ("conditional_warm_up", "encoder_at_prior")}
    held = at_most(max(rising[name] - seeds[name] for seeds in found.values() for name in LATE), 1)
    named = {"rising λ": rising, "a warm-up of C": found["conditional_warm_up"]}
    named["an encoder at its prior"] = found["encoder_at_prior"]
    return held, f"seeds that count right: {each({name: each(seeds) for name, seeds in named.items()})}."


@predicts(55, foreshadowed=f"{_PILOT}: half of what it loses from the usual start.")
def _the_price_is_small_where_it_learns(counting: DataFrame) -> Judged:
    r"""**The price of what is not there is a few nats.** From the usual start the test ELBO of {eq}`eq-9` minus that of
    the full gradient has a mean between −5 and −0.5 nats, and more than a third of it is there with the best
    $q(n \given x)$ too. *Reason:* theta alone is tilted, but $\phi$ and the decoder learn from the numbers that theta
    prefers, and learn to draw one digit as two objects."""
    rows = where(counting, **USUAL)
    gap, best = (_paired(rows, column, "modified", "full") for column in ("test_elbo", "test_best_elbo"))
    held = above(gap.mean(), -5) & below(gap.mean(), -0.5) & below(best.mean(), gap.mean() / 3)
    words = f"{interval(gap):+.2f} nats of ELBO, and {interval(best):+.2f} with the best q(n|x)"
    return held, f"from the usual start eq. (9) minus full is {words}."


@predicts(56, foreshadowed=f"{_PILOT} had 1.37 objects under the full gradient with q(n|x) held for a quarter.")
def _half_of_it_sees_fewer(counting: DataFrame) -> Judged:
    r"""**$\lambda = \tfrac12$ sees fewer of them.** From each start, the mean number of objects under
    $\lambda = \tfrac12$ is below that under {eq}`eq-9` as a mean over seeds. From the usual start it is at most half
    as far above the true one. *Reason:* half of an object's KL is still several nats."""
    gaps = {
        name: interval(_paired(where(counting, **start), "test_n", "lambda=0.5", "modified"))
        for name, start in STARTS.items()
    }
    half, all_ = (_over(_way(counting, way, **USUAL)).mean() for way in ("lambda=0.5", "modified"))
    held = all(gap.mean < 0 for gap in gaps.values()) and half <= all_ / 2
    words = f"λ = ½ minus eq. (9), mean number of objects: {each(gaps, '+.2f')}"
    return held, f"{words}; from the usual start it is {half:+.2f} above the true one, and eq. (9) {all_:+.2f}."


@predicts(57)
def _what_is_missed_stays_missed(counting: DataFrame, counting_curves: DataFrame) -> Judged:
    r"""**An object that is missed stays missed.** Of the runs of the full gradient from the far starts that at some
    step miss objects by the rule for slots, at least two of three do at the end. (Mean number below 0.85 of the true
    one, while another way with that seed is 5 nats better with a mean within 5%.) *Reason:* with $q(n = 2)$ near zero
    nothing trains the second object, and theta has no reason to try it."""
    missed, late = [], []
    for start in LATE.values():
        rows = where(counting_curves, **start)
        found = starvation(rows).set_index("run")
        ways = _way(where(counting, **start), "full")
        own = found.loc[ways["run"]]
        slots = own[own["starved"] == "slot"]
        missed.append(len(slots))
        late.append(int((slots["lasting"] != "delay").sum()))
    words = f"{sum(late)} of {sum(missed)} runs that missed objects still miss them at the end"
    return sum(missed) > 0 and sum(late) >= 2 * sum(missed) / 3, f"of the full gradient, {words}."


@predicts(58, foreshadowed=f"{_PILOT}: blank with the KL warm-up to the end, and one object with a warm-up of $C$.")
def _a_kl_warm_up_goes_blank(counting_harm: DataFrame) -> Judged:
    r"""**Where first objects do harm, a KL warm-up goes blank.** With Gaussian pixels, a far start and a glimpse whose
    bias is −2, so that a random object costs 13 nats of $R$, the KL warm-up ends with $q(n = 0 \given x) > \tfrac12$ on
    images with objects in at least 4 of 5 seeds, and a warm-up of $C$ alone in at most 1. *Reason:* the KL warm-up also
    takes away the pull of $p(n)$, and $q(n \given x)$ runs to the empty canvas at full speed. With $A$ at full weight
    some of it stays."""
    rows = where(counting_harm, glimpse_bias=-2.0)
    found = {way: int((_way(rows, way).test_blank > 0.5).sum()) for way in ("kl_warm_up", "conditional_warm_up")}
    held = at_least(found["kl_warm_up"], 4) & at_most(found["conditional_warm_up"], 1)
    return held, f"seeds that end blank: {found['kl_warm_up']} with a KL warm-up, {found['conditional_warm_up']} of C."


@predicts(59, foreshadowed=f"{_PILOT}: blank for 2,000 steps and then one object; 1.37 with q(n|x) held.")
def _no_weight_helps_where_r_falls(counting_harm: DataFrame) -> Judged:
    r"""**Where first objects cost $R$, no $\lambda$ helps.** With a glimpse whose bias is 0, a random object costs 89
    nats of $R$ and no KL. Under the full gradient, {eq}`eq-9`, $\lambda$ that rises and a warm-up of $C$, the mean
    number of objects stays below 0.85 of the true one in at least 4 of 5 seeds each. With $q(n \given x)$ held at the
    prior for a quarter it is above that in at least 4 of 5. *Reason:* $\lambda$ weighs $C$, and what drives theta to
    the empty canvas here is $R$."""
    rows = where(counting_harm, glimpse_bias=0.0)
    ways = {
        "the full gradient": "full",
        "eq. (9)": "modified",
        "rising λ": "lambda_warm_up",
        "a warm-up of C": "conditional_warm_up",
        "q(n|x) held": "frozen_count",
    }
    found = {name: int((_share(_way(rows, way)) < FEW).sum()) for name, way in ways.items()}
    *weights, held_count = found.values()
    held = every(at_least(n, 4) for n in weights) & at_most(held_count, 1)
    return held, f"seeds of five with fewer than {FEW} of the objects: {each(found)}."


@predicts(60)
def _the_further_the_more(counting: DataFrame, counting_doses: DataFrame) -> Judged:
    r"""**The further the start, the more seeds of the full gradient fail.** With Gaussian pixels, at a prior of the
    scale with standard deviation 0.05 at least 4 of 5 seeds have fewer than 0.85 of the objects at the end, at 1 at
    most 1 of 5, and seeds 0 to 4 at 0.05, 0.1, 0.2, 0.5 and 1 never become more. *Reason:* the cost of an object at the
    start, 0 at 1 and 200 nats at 0.05, decides whether theta leaves it before $\phi$ has learnt to pay less."""
    dose = {}
    for scale in sorted([*DOSES, 0.1]):
        table = where(counting, **BLIND) if scale == 0.1 else where(counting_doses, scale_prior=scale)
        rows = _way(table, "full")
        dose[f"{scale:g}"] = int((_share(rows[rows.seed < 5]) < FEW).sum())
    seeds = list(dose.values())
    held = seeds[0] >= 4 and seeds[-1] <= 1 and all(a >= b for a, b in itertools.pairwise(seeds))
    return held, f"seeds of five that miss objects, by the prior's deviation: {each(dose)}."


@predicts(61)
def _a_prior_for_none_makes_it_honest(counting: DataFrame, counting_controls: DataFrame) -> Judged:
    r"""**A prior that favours none makes {eq}`eq-9` see fewer.** With $p(n + 1) / p(n) = 0.1$ and each of the starts,
    usual and far with Gaussian pixels, {eq}`eq-9` has a smaller mean number of objects than with equal odds, and in the
    mean over seeds it is above the true one still. *Reason:* under {eq}`eq-9` the prior's odds are the only price of an
    object: $\log 10 = 2.3$ nats."""
    rare, held, said = where(counting_controls, count_ratio=RATIO), True, {}
    for name in ("the usual start", "the far start with Gaussian pixels"):
        rows = [_way(table, "modified", **STARTS[name]).set_index("seed") for table in (rare, counting)]
        fewer, over = (rows[0].test_n - rows[1].test_n).dropna(), _over(rows[0])
        held = held and interval(fewer).high < 0 and over.mean() > 0
        said[name] = f"{interval(fewer):+.2f} against equal odds and {over.mean():+.2f} against the truth"
    return held, f"mean number of objects under eq. (9): {each(said)}."


@predicts(62, foreshadowed=f"{_PILOT} under the full gradient saw 2.6 of 2.0 digits from the usual start.")
def _four_digits_are_counted_worse(counting_controls: DataFrame) -> Judged:
    r"""**With up to four digits that overlap, {eq}`eq-9` sees still more than the full gradient.** From the usual start
    its mean number of objects is above that of the full gradient in every seed, and its test ELBO is below. *Reason:*
    as with two, and there are more objects to add."""
    rows = where(counting_controls, data="four_digits", **USUAL)
    more, worse = (_paired(rows, column, "modified", "full") for column in ("test_n", "test_elbo"))
    words = f"{interval(more):+.2f} objects and {interval(worse):+.2f} nats of ELBO"
    return (more > 0).all() and interval(worse).high < 0, f"with four digits eq. (9) minus full is {words}."


@predicts(63, foreshadowed="In pilot runs of another program eq. (9) had 5 to 31% less, and a baseline 3 to 8 times.")
def _a_baseline_beats_it(counting_estimators: DataFrame, counting_estimators_curves: DataFrame) -> Judged:
    r"""**Less noise is no argument: a baseline has far less.** In the runs of the full gradient by the score function,
    at the same weights, the noise that one sample of $n$ brings into theta's gradient under {eq}`eq-9` is between 0.6
    and 1 times that under the full gradient, in the mean over each run's rows; that of the full gradient with the best
    baseline for each image is less than a third. *Reason:* without a baseline the noise is that of the size of the
    reward, 100 nats, which $c(n)$ of ten adds little to. A baseline takes that size away, and no bias comes with
    it."""
    runs = where(counting_estimators, estimator="score", objective="full")["run"]
    rows = counting_estimators_curves[counting_estimators_curves["run"].isin(runs)]
    means = rows.groupby("run")[["noise_n_full", "noise_n_modified", "noise_image_full"]].mean()
    cut, baseline = means.noise_n_modified / means.noise_n_full, means.noise_image_full / means.noise_n_full
    held = between(cut, 0.6, 1) & below(baseline, 1 / 3)
    return held, f"eq. (9) has {span(cut)} of the noise, and a baseline for each image {span(baseline)}."


@predicts(64, foreshadowed=f"{_PILOT} by the score function stayed at 68% right from the usual start.")
def _one_sample_counts_worse(counting_estimators: DataFrame) -> Judged:
    r"""**One sample of $n$ costs more than the term does.** From the usual start, under the full gradient, the test
    ELBO by the score function without a baseline minus that by the exact sum is below zero in the mean over seeds, and
    lower than what {eq}`eq-9` loses against the full gradient by the exact sum. *Reason:* noise that is larger than the
    signal lets $q(n \given x)$ drift to an edge while the objects are still alike, and it does not come back."""
    rows = where(counting_estimators, **USUAL)
    exact, score = (where(rows, estimator=name) for name in ("exact", "score"))
    one = _by_seed(_way(score, "full"), "test_elbo") - _by_seed(_way(exact, "full"), "test_elbo")
    term = _paired(exact, "test_elbo", "modified", "full")
    words = f"{interval(one):+.2f} nats by one sample, {interval(term):+.2f} by eq. (9)"
    return lower(interval(one)) & below(
        one.mean(), term.mean()
    ), f"against the full gradient by the exact sum: {words}."


def _way(table: DataFrame, name: str, **settings: object) -> DataFrame:
    """The rows of one way of training from one start."""
    if name == "encoder_at_prior":
        return where(table, objective="full", encoder_at_prior=True, **settings)
    return where(table, objective=name, encoder_at_prior=False, **settings)


def _over(rows: DataFrame) -> Series:
    """By how much the mean number of objects on the test images is above the true one."""
    return rows.test_n - rows.test_n_true


def _share(rows: DataFrame) -> Series:
    return rows.test_n / rows.test_n_true


def _right_seeds(counting: DataFrame, way: str) -> dict[str, int]:
    """The seeds of each far start that count right at the end."""
    return {name: int((_way(counting, way, **start).test_right >= RIGHT).sum()) for name, start in LATE.items()}


def _by_seed(rows: DataFrame, column: str) -> Series:
    return rows.set_index("seed")[column].sort_index()


def _paired(rows: DataFrame, column: str, one: str, other: str) -> Series:
    """The differences of two ways by seed."""
    return _by_seed(_way(rows, one), column) - _by_seed(_way(rows, other), column)


def _spans(found: dict[str, Series]) -> str:
    return each({name: span(values) for name, values in found.items()})
