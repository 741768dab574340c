"""The studies of models that count: schedules chosen by what is written in `tables`, on seeds of their own."""

import pytest
from conftest import DATA
from counted_world import CONTROLS

from condkl_studies import plans, store
from condkl_studies.plans import counting, counting_tuning
from condkl_studies.results import frame
from condkl_studies.tables import chosen_shares

COUNTED = ("counting", *CONTROLS, "counting_estimators")


def test_the_schedules_are_chosen_on_seeds_of_their_own():
    tuned = {one.seed for one in plans.study("counting_tuning").configs}
    assert not tuned & {one.seed for name in plans.names() if name != "counting_tuning" for one in _configs(name)}
    assert set(counting.UNTIL.values()) <= set(counting_tuning.SHARES)


def test_a_control_is_no_run_of_counting_again():
    assert not {one.id for one in _configs("counting")} & {one.id for name in CONTROLS for one in _configs(name)}


@pytest.mark.parametrize("name", COUNTED)
def test_each_start_has_the_full_gradient_of_every_seed_to_compare_with(name):
    starts = {}
    for one in _configs(name):
        cell = (one.data, one.pixels, one.scale_prior, one.count_ratio, one.glimpse_bias, one.estimator)
        starts.setdefault(cell, {}).setdefault(one.objective, set()).add(one.seed)
    assert all(seeds == ways["full"] for ways in starts.values() for seeds in ways.values())


def test_the_schedules_of_counting_are_those_that_tuning_chose(monkeypatch):
    monkeypatch.setenv("CONDKL_DATA", str(DATA))
    study = plans.study("counting_tuning")
    if study.open and len(store.recorded("counting_tuning", study.configs)) < len(study.configs):
        pytest.skip("counting_tuning is still being trained")
    assert chosen_shares(frame("counting_tuning")) == counting.UNTIL


def _configs(name):
    return plans.study(name).configs
