"""A first window beside the recorded seeds: what is compared, with what, and what is said where nothing can be."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from condkl_studies.data import DATASETS
from condkl_studies.live import TERMS, beside, first_window, prediction_interval
from condkl_studies import RunConfig, run, store, verify
from condkl_studies.engine import trained
from condkl_studies.plans import STUDIES

MADE = RunConfig(
    "full", skip=False, seed=0, steps=6, data="made", latents=(2, 3), hidden=(8, 8), batch_size=20, every=2
)
SEEDS = [replace(MADE, seed=seed) for seed in range(4)]


def images(split):
    return torch.randint(0, 256, (60, 12), generator=torch.Generator().manual_seed(len(split))).byte()


@pytest.fixture(scope="module")
def results():
    DATASETS["made"] = images
    yield [run(config, device="cpu") for config in SEEDS]
    del DATASETS["made"]


@pytest.fixture
def recorded(results, tmp_path, monkeypatch):
    """Seeds 0 to 2 recorded, seed 3 planned and not recorded."""
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path))
    monkeypatch.setitem(STUDIES, "made", SEEDS)
    for result in results[:3]:
        store.write("made", result)
    return results


def test_the_first_window_repeats_the_record_of_its_seed(recorded):
    found = first_window(MADE)
    assert found.inside
    assert list(found.seeds.index) == [0, 1, 2]
    table = found.table
    assert list(table.columns) == ["here", "recorded", "low", "high"]
    assert list(table.index) == list(TERMS)
    pd.testing.assert_series_equal(table["here"], table["recorded"], check_names=False)
    assert str(found) == "inside the 99.9% prediction interval of 3 recorded seeds"


def test_only_the_first_window_is_trained(recorded, monkeypatch):
    steps = []

    def spy(*arguments):
        for each in trained(*arguments):
            steps.append(each.step)
            yield each

    monkeypatch.setattr(verify, "trained", spy)
    first_window(MADE)
    assert steps == [MADE.every]


def test_a_seed_without_a_record_is_compared_with_the_others(recorded):
    found = first_window(SEEDS[3])
    assert list(found.seeds.index) == [0, 1, 2]
    assert found.table["recorded"].isna().all()
    assert found.inside is not None


@pytest.mark.parametrize("setting", [{"objective": "modified"}, {"skip": True}, {"learning_rate": 2e-3}])
def test_another_setting_has_no_record_to_compare_with(setting, recorded):
    found = first_window(replace(MADE, **setting))
    assert found.inside is None
    assert list(found.table.columns) == ["here"]
    assert str(found) == "there is no record of this setting to compare with"


def test_one_recorded_seed_has_no_spread(recorded, monkeypatch):
    monkeypatch.setitem(STUDIES, "made", SEEDS[:1])
    found = first_window(MADE)
    assert found.inside is None
    assert list(found.table.columns) == ["here", "recorded"]
    assert str(found) == "there is only 1 recorded seed of this setting to compare with"


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_term_far_from_all_seeds_is_named(term, sign, recorded):
    here = dict(recorded[0].metrics.iloc[0])
    found = beside(MADE, here | {term: here[term] + sign * 1e4})
    assert found.inside is False
    assert str(found).startswith(f"OUTSIDE ({term})")


def test_a_one_layer_model_has_a_C_of_zero_inside_an_interval_of_zero(recorded, monkeypatch):
    one = [replace(config, latents=(2,)) for config in SEEDS[:3]]
    monkeypatch.setitem(STUDIES, "one", one)
    for config in one:
        store.write("one", run(config, device="cpu"))
    found = first_window(one[0])
    assert found.inside
    assert (found.table.loc["C"] == 0).all()


def test_the_interval_holds_the_next_value_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(20_000, 6))
    n = draws.shape[1] - 1
    table = prediction_interval(pd.DataFrame(draws[:, :n].T), level=0.9)
    held = ((table["low"] <= draws[:, n]) & (draws[:, n] <= table["high"])).mean()
    assert abs(held - 0.9) < 4.5 * np.sqrt(0.9 * 0.1 / len(draws))


def test_the_interval_is_that_of_the_t_distribution():
    values = pd.DataFrame({"A": [1.0, 2.0, 4.0]})
    low, high = stats.t.interval(0.999, 2, values["A"].mean(), values["A"].std() * np.sqrt(4 / 3))
    assert prediction_interval(values).loc["A"].tolist() == pytest.approx([low, high])


def test_a_single_row_is_refused():
    with pytest.raises(ValueError, match="values: expected two rows or more, got 1"):
        prediction_interval(pd.DataFrame({"A": [1.0]}))


def test_a_missing_term_is_named():
    with pytest.raises(ValueError, match="here: expected elbo, R, A, C, got none of A, C"):
        beside(MADE, {"elbo": 0.0, "R": 0.0})


def test_the_number_of_threads_is_as_before(recorded):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first_window(MADE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_broken_record_is_reported(recorded):
    (store.record_folder("made", MADE) / "metrics.csv").write_text("step\n")
    with pytest.raises(store.RecordError, match=r"metrics\.csv"):
        first_window(MADE)
