"""How far a number is from its bound: its sign says whether the bound is met."""

import math

import numpy as np
import pytest

from condkl_studies import margins
from condkl_studies.margins import Margin
from condkl_studies.results import Interval


def apart(mean):
    return Interval(mean, 0.5, 5)


@pytest.mark.parametrize(
    ("found", "size"),
    [
        (margins.below([0.02, 0.05], 0.1), 0.5),
        (margins.below(-1.5, -3.0), -0.5),
        (margins.below(0.1, 0.1), 0.0),
        (margins.below([-2.0, -0.5], 0, unit=1), 0.5),
        (margins.above([3.0, 5.0], 2.0), 0.5),
        (margins.above(1.0, 2.0), -0.5),
        (margins.between([2.75, 3.0], 2.5, 3.5), 0.5),
        (margins.between(3.75, 2.5, 3.5), -0.5),
        (margins.at_least(7, 7), 0.5 / 7),
        (margins.at_least(6, 7), -0.5 / 7),
        (margins.at_most(1, 1), 0.5),
        (margins.at_most(2, 1), -0.5),
        (margins.none([0, 0]), math.inf),
        (margins.none([0, 2]), -2.0),
        (margins.lower(apart(-0.75)), 0.5),
        (margins.lower(apart(-0.25)), -0.5),
        (margins.higher(apart(0.75)), 0.5),
        (~margins.higher(apart(0.75)), -0.5),
        (margins.higher(Interval(1.0, 0.0, 5)), math.inf),
    ],
)
def test_the_distance_is_in_units_and_its_sign_is_the_verdict(found, size):
    assert found.size == pytest.approx(size)
    assert bool(found) == (size > 0)


def test_counts_that_just_meet_their_bounds_are_met():
    assert margins.at_least(4, 4)
    assert margins.at_most(0, 0)
    assert margins.between([0.6, 1.0], 0.6, 1.0)


def test_of_several_the_nearest_counts_and_all_must_hold():
    near, far, missed = Margin(True, 0.1), Margin(True, 3.0), Margin(False, -0.2)
    assert near & far == near
    assert margins.every([far, missed, near]) == missed


def test_values_that_are_missing_meet_no_bound():
    assert not margins.below(np.nan, 1.0)
    assert not margins.above([1.0, np.nan], 0.5)
