"""How steady training was, on tables in which it can be counted by hand."""

import math

import pandas as pd
import pytest

from condkl_studies.stability import (
    broken,
    first_place,
    noise,
    signal_to_noise,
    signal_to_noise_of_n,
    spikes,
    steps_to,
)

CURVES = pd.DataFrame({
    "run": ["a", "a", "a", "b", "b", "b"],
    "step": [500, 1000, 1500] * 2,
    "epoch": [1.0, 2.0, 3.0] * 2,
    "elbo": [-150.0, -120.0, -110.0, -160.0, -600.0, -130.0],
    "elbo_least": [-250.0, -139.9, -131.0, -250.0, -9e9, -151.0],
    "signal_full": [4.0, 2.0, -1.0, 0.0, 0.0, 3.0],
    "noise_full": [1.0, 2.0, 2.0, 1.0, 1.0, 1.0],
    "signal_modified": [0.0, 0.0, 3.0, 1.0, 1.0, 1.0],
    "noise_modified": [1.0, 1.0, 1.0, 2.0, 2.0, 2.0],
})  # fmt: skip


def test_a_run_is_broken_that_diverged_or_fell_below_guessing():
    ends = pd.DataFrame({"run": ["a", "b", "c"], "diverged_at": [math.nan, math.nan, 7.0]})
    assert broken(ends, CURVES).to_dict() == {"a": False, "b": True, "c": True}
    assert broken(ends.assign(diverged_at=[3.0, math.nan, 7.0]), CURVES).all()


@pytest.mark.parametrize(("pixels", "guessing"), [(784, -543.42739), (1024, -709.78271)])
def test_guessing_is_an_even_chance_for_each_pixel(pixels, guessing):
    ends = pd.DataFrame({"run": ["a", "b"], "diverged_at": [math.nan, math.nan]})
    above, below = CURVES.replace(-600.0, guessing + 1e-4), CURVES.replace(-600.0, guessing - 1e-4)
    assert not broken(ends, above, pixels).any()
    assert not broken(ends, CURVES.replace(-600.0, -pixels * math.log(2)), pixels).any()
    assert broken(ends, below, pixels).to_dict() == {"a": False, "b": True}


def test_the_first_place_is_that_of_the_least_rate_with_a_broken_run():
    ends = pd.DataFrame({"learning_rate": [0.1, 0.2, 0.2, 0.4], "broken": [False, False, True, True]})
    assert first_place(ends, [0.1, 0.2, 0.4]) == 1
    assert first_place(ends, [0.4, 0.2, 0.1]) == 0
    assert first_place(ends[~ends.broken], [0.1, 0.2, 0.4]) == 3


def test_spikes_are_counted_by_windows_once_the_start_is_over():
    assert spikes(CURVES).to_dict() == {"a": 1, "b": 2}
    assert spikes(CURVES, after=0.0).to_dict() == {"a": 2, "b": 3}
    assert spikes(CURVES, nats=1000.0).to_dict() == {"a": 0, "b": 1}


def test_a_level_is_reached_at_the_end_of_the_first_window_that_has_it():
    assert steps_to(CURVES, -120.0).fillna(-1).to_dict() == {"a": 1000, "b": -1}
    assert steps_to(CURVES, -130.0).to_dict() == {"a": 1000, "b": 1500}


def test_signal_and_noise_are_pooled_over_windows_before_they_are_divided():
    assert noise(CURVES, "full").to_dict() == pytest.approx({"a": 5 / 3, "b": 1.0})
    assert signal_to_noise(CURVES, "full").to_dict() == pytest.approx({"a": 1.0, "b": 1.0})
    assert signal_to_noise(CURVES, "modified").to_dict() == pytest.approx({"a": 1.0, "b": 0.5})


def test_of_one_sample_of_n_squares_are_pooled_over_windows_before_they_are_divided():
    curves = pd.DataFrame({"run": ["a", "a", "b"], "pull_full": [1.0, 7.0, 2.0], "noise_n_full": [5.0, 5.0, 1.0]})
    assert signal_to_noise_of_n(curves, "full").to_dict() == pytest.approx({"a": 1.0, "b": 4.0})
