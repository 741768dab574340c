"""The ways: what each term weighs at every moment, and names that are refused."""

import pytest

from condkl_studies.counting.ways import SCHEDULED, Way, Weights

FULL = Weights(1.0, 1.0, 1.0, 1.0)


def at(name, until=0.5):
    return [Way(name, until).at(progress) for progress in (0.0, 0.25, 0.5, 1.0)]


def test_the_fixed_ways_are_the_full_gradient_eq_9_and_what_lies_between():
    assert [Way(name).at(0.3) for name in ("full", "modified", "lambda=0.50")] == [
        FULL, Weights(c_theta=0.0), Weights(c_theta=0.5),
    ]  # fmt: skip
    assert Way("lambda=0") == Way("modified")


def test_the_scheduled_ways_weigh_their_own_terms_alone_and_end_at_the_full_gradient():
    assert at("lambda_warm_up") == [Weights(c_theta=0.0), Weights(c_theta=0.5), FULL, FULL]
    assert at("modified_start") == [Weights(c_theta=0.0), Weights(c_theta=0.0), FULL, FULL]
    assert at("kl_warm_up") == [Weights(0.0, 0.0, 0.0), Weights(0.5, 0.5, 0.5), FULL, FULL]
    assert at("conditional_warm_up") == [Weights(0.0, 0.0), Weights(0.5, 0.5), FULL, FULL]
    assert at("frozen_count") == [Weights(rate_theta=0.0), Weights(rate_theta=0.0), FULL, FULL]
    assert [Way(name, 0.01).at(0.01) for name in SCHEDULED] == [FULL] * len(SCHEDULED)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("free_bits",), "objective: expected one of full, modified, .*frozen_count, got 'free_bits'"),
        (("lambda=0.9+kl_warm_up",), "objective: expected one of full, modified, .*got 'lambda=0.9"),
        (("lambda=2",), "objective: expected lambda=0.7 or the like"),
        (("kl_warm_up",), "until: expected a share of the training for 'kl_warm_up', got None"),
        (("full", 0.5), "until: expected None for 'full', which has no schedule, got 0.5"),
        (("kl_warm_up", 0), "until: expected a share of the training, above 0"),
        (("kl_warm_up", 1.5), "until: expected a share of the training"),
    ],
)
def test_ways_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Way(*arguments)
