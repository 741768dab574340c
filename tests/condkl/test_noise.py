"""Bias against variance: the formula against chains of steps, and what the best λ tends to."""

import math

import numpy as np
import pytest

from condkl.noise import best_weight, steady_excess


@pytest.mark.parametrize(("lam", "step", "variance", "a", "b", "m"), [
    (0.0, 0.1, 30.0, 1.0, 1.0, 1.0),
    (0.19, 0.1, 30.0, 1.0, 1.0, 1.0),
    (1.0, 0.1, 30.0, 1.0, 1.0, 1.0),
    (0.6, 0.3, 4.0, 0.5, 2.0, -1.5),
])  # fmt: skip
def test_chains_of_noisy_steps_stay_so_far_above_the_minimum(lam, step, variance, a, b, m):
    draws, theta, found = np.random.default_rng(0), np.zeros(20_000), []
    start = math.ceil(30 / (step * (a + lam * b)))  # e^-30 of the start is left
    for _ in range(start):
        noise = math.sqrt(variance) * draws.standard_normal(theta.size)
        theta -= step * (a * theta + lam * (b * (theta - m) + noise))
    found = a * theta**2 / 2 + b * (theta - m) ** 2 / 2
    least = a * b * m**2 / (2 * (a + b))
    error = found.std() / math.sqrt(theta.size)
    assert found.mean() - least == pytest.approx(steady_excess(lam, step, variance, a, b, m), abs=4 * error + 1e-9)


def test_without_noise_the_full_gradient_is_best_and_with_it_none_at_a_step_above_zero():
    assert best_weight(0.1, 0.0) == pytest.approx(1.0, abs=1e-5)
    found = [best_weight(step, 10.0) for step in (0.3, 0.1, 0.01, 1e-3, 1e-4)]
    assert found == sorted(found)
    assert found[0] > 0
    assert 0.99 < found[-1] < 1


def test_near_zero_step_what_is_missing_to_one_is_proportional_to_step_and_variance():
    # The bias rises as (ab m (1-λ) / (a + b)²)², the variance falls by (1-λ) ηV (2a + b) / (2(a + b)²).
    a, b, m = 0.7, 1.8, 0.5
    slope = (a + b) ** 2 / (a * b * m) ** 2 * (2 * a + b) / 4
    for step, variance in ((1e-6, 3.0), (1e-5, 0.5)):
        assert 1 - best_weight(step, variance, a, b, m) == pytest.approx(step * variance * slope, rel=0.02)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"step": 1.0}, r"step: expected one above 0 and below 2/\(a \+ b\) = 1, got 1.0"),
    ({"variance": -1.0}, "variance: expected a finite number of 0 or more, got -1.0"),
    ({"a": 0.0}, "a, b: expected curvatures above 0, got 0.0, 1.0"),
    ({"m": math.nan}, "m: expected a finite number, got nan"),
    ({"lam": 2.0}, "lam: expected a number from 0 to 1, got 2.0"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        steady_excess(**{"lam": 0.5, "step": 0.1, "variance": 1.0} | wrong)
