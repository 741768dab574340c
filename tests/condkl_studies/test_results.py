"""Recorded runs as tables: the right figures of the right runs, intervals that cover, and pairs by seed."""

import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from condkl_studies import plans, store
from condkl_studies.config import RunConfig
from condkl_studies.plans import EPOCH, Study
from condkl_studies.results import Interval, bands, curves, differences, frame, interval, minus, paired, where, wilson
from condkl_studies.store import RunResult

RECORDED = store.record_folder("main", plans.study("main").configs[0])
BASE = RunConfig("full", skip=False, seed=0, steps=3 * EPOCH, every=EPOCH, likelihood_images=2, likelihood_samples=1)
CONFIGS = [
    replace(BASE, seed=seed, **way)
    for seed in range(3)
    for way in ({}, {"objective": "modified"}, {"phi_rate": 5.0}, {"skip": True}, {"latents": (50,)})
]


def record(config):
    """Numbers that say whose they are."""
    own = CONFIGS.index(config)
    metrics = pd.DataFrame({"step": [500, 1000, 1500], "elbo": [-3.0 - own, -2.0 - own, -1.0 - own]})
    metrics["val_elbo"] = [math.nan, math.nan, -0.5 - own]
    metrics["active_v"] = [math.nan, math.nan, own]
    samples = {"test": np.array([-0.25 - own, 4.0, 3.0, 2.0]), "log_likelihood": np.array([-own - 1.0, -own + 1.0])}
    provenance = {
        "seconds": {"training": 3000.0, "evaluation": 600.0},
        "machine": {"processor": "a processor", "device": "cpu"},
        "commit": "0123456789abcdef",
        "finished": "2026-11-22T00:00:00+00:00",
    }
    return RunResult(config, metrics, samples, provenance)


@pytest.fixture(autouse=True)
def planned(tmp_path, monkeypatch):
    """A study `some` of these runs, and others that a test adds."""
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path))
    studies = {"some": Study("Some runs.", tuple(CONFIGS))}
    monkeypatch.setattr(plans, "study", studies.__getitem__)
    for config in CONFIGS:
        store.write("some", record(config))
    return studies


def test_a_row_for_each_run_with_its_own_figures():
    table = frame("some")
    assert table["run"].tolist() == [config.id for config in CONFIGS]
    own = np.arange(len(CONFIGS))
    for column, values in {
        "elbo": -0.25 - own,
        "log_likelihood": -own,
        "val_elbo": -0.5 - own,
        "active_v": own,
        "hours": np.ones(len(own)),
        "epochs": 3 * np.ones(len(own)),
        "seed": own // 5,
    }.items():
        np.testing.assert_allclose(table[column].astype(float), values)
    assert table["method"].tolist() == ["full", "modified", "full, phi x5", "full", "full"] * 3
    assert table["decoder"].tolist() == ["p(x|u)", "p(x|u)", "p(x|u)", "p(x|u,v)", "one layer"] * 3


def test_a_run_without_likelihoods_has_none(planned):
    config = replace(BASE, likelihood_images=0, likelihood_samples=0)
    result = record(BASE)
    del result.samples["log_likelihood"]
    planned["other"] = Study("One run.", (config,))
    store.write("other", replace(result, config=config))
    assert math.isnan(frame("other")["log_likelihood"].item())


def test_likelihoods_of_all_images_are_compared_on_those_that_other_runs_have(planned):
    config = replace(BASE, likelihood_images=10_000, likelihood_samples=5)
    result = record(BASE)
    result.samples["log_likelihood"] = np.random.default_rng(0).normal(size=10_000)
    planned["other"] = Study("One run.", (config,))
    store.write("other", replace(result, config=config))
    images = store.read_folder(RECORDED).samples["likelihood_image"]
    want = result.samples["log_likelihood"][images].mean()
    np.testing.assert_allclose(frame("other")["log_likelihood"].item(), want)


def test_curves_have_a_row_for_each_epoch_of_each_run():
    table = curves("some")
    assert len(table) == 3 * len(CONFIGS)
    one = where(table, run=CONFIGS[7].id)
    assert one["epoch"].tolist() == [1, 2, 3]
    assert one["elbo"].tolist() == [-10, -9, -8]
    assert set(one["seed"]) == {1}


def test_a_missing_run_is_an_error_that_names_the_command():
    shutil.rmtree(store.record_folder("some", CONFIGS[4]))
    for table in (frame, curves):
        with pytest.raises(store.RecordError, match="make study NAME=some"):
            table("some")


def test_in_part_a_study_is_what_is_recorded_of_it():
    shutil.rmtree(store.record_folder("some", CONFIGS[4]))
    for table in (frame, curves):
        assert list(table("some", partial=True)["run"].unique()) == [one.id for one in CONFIGS if one != CONFIGS[4]]


def test_a_study_without_any_record_is_an_error_even_in_part(planned):
    planned["later"] = Study("Not begun.", tuple(CONFIGS))
    for table in (frame, curves):
        with pytest.raises(store.RecordError, match="make study NAME=later"):
            table("later", partial=True)


def test_a_setting_that_no_run_has_is_an_error():
    with pytest.raises(ValueError, match="settings: expected those of some row"):
        where(frame("some"), method="full", seed=17)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9))
def test_the_interval_is_scipys(values):
    found = interval(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=max(stats.sem(values), 1e-300))
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-6, atol=1e-9)
    assert found.n == len(values)


def test_the_interval_covers_the_mean_in_95_of_100_cases():
    draws = np.random.default_rng(0).normal(3.0, 2.0, size=(4000, 5))
    covered = sum(found.low <= 3.0 <= found.high for found in map(interval, draws))
    assert abs(covered / 4000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan], [1.0, math.inf]])
def test_an_interval_of_nothing_is_an_error(values):
    with pytest.raises(ValueError, match="values: expected two finite numbers or more"):
        interval(values)


# Method 3 of Newcombe (1998), Statistics in Medicine 17, 857-872, table I.
NEWCOMBE = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}


@pytest.mark.parametrize("counted", NEWCOMBE)
def test_the_interval_of_a_rate_is_the_published_one(counted):
    np.testing.assert_allclose(wilson(*counted), NEWCOMBE[counted], atol=5e-5)


@given(st.integers(1, 50).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_at_the_ends_of_the_interval_of_a_rate_the_count_is_1_96_standard_deviations_away(counted):
    k, n = counted
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    for end, reached in ((low, k > 0), (high, k < n)):
        deviations = abs(k - n * end) if not reached else abs(k - n * end) / math.sqrt(n * end * (1 - end))
        np.testing.assert_allclose(deviations, stats.norm.ppf(0.975) if reached else 0.0, rtol=1e-9, atol=1e-9)


def test_more_than_all_is_no_rate():
    with pytest.raises(ValueError, match="k"):
        wilson(11, 10)


def test_an_interval_is_written_with_a_minus_and_its_half_width():
    assert str(Interval(-1.234, 0.5, 3)) == "−1.23 ± 0.50"
    assert f"{Interval(1.25, 0.5, 3):+.1f}" == "+1.2 ± 0.5"
    assert f"{Interval(-0.001, 0.5, 3):+.2f}" == "+0.00 ± 0.50"


def test_pairs_are_by_seed_whatever_the_order():
    table = frame("some").sample(frac=1, random_state=1)
    found = paired(table, "elbo", {"method": "modified"}, {"method": "full", "decoder": "p(x|u)"})
    assert (found.mean, found.half, found.n) == (-1.0, 0.0, 3)


def test_only_common_seeds_are_paired():
    table = frame("some")
    table = table[~((table["method"] == "modified") & (table["seed"] == 2))]
    assert paired(table, "elbo", {"method": "modified"}, {"method": "full", "decoder": "p(x|u)"}).n == 2


def test_a_setting_with_a_seed_twice_is_an_error():
    with pytest.raises(ValueError, match="one run a seed"):
        paired(frame("some"), "elbo", {"method": "modified"}, {"method": "full"})


def test_a_difference_of_methods_is_that_of_the_pairs_of_both_settings():
    table = where(frame("some"), decoder="p(x|u)")
    assert minus(table, "elbo", "modified") == paired(table, "elbo", {"method": "modified"}, {"method": "full"})
    assert minus(frame("some"), "elbo", "modified", decoder="p(x|u)").mean == -1.0
    assert minus(table, "elbo", "full", "modified", data="mnist").mean == 1.0


def test_differences_are_row_by_row_from_the_same_seed_and_epoch():
    table = where(curves("some"), decoder="p(x|u)").sample(frac=1, random_state=1)
    found = differences(table.assign(elbo=table["elbo"] * table["epoch"]), "elbo")
    assert set(found["method"]) == {"modified", "full, phi x5"}
    steps = found["method"].map({"modified": -1.0, "full, phi x5": -2.0})
    np.testing.assert_allclose(found["difference"], steps * found["epoch"])
    ends = differences(where(frame("some"), decoder="p(x|u)"), "elbo", reference="modified")
    assert ends["difference"].tolist() == [1.0, -1.0] * 3


def test_a_geometric_band_is_that_of_the_logarithm():
    table = pd.DataFrame({"method": "full", "epoch": 1, "A": [0.1, 1.0, 10.0]})
    found, log = bands(table, "A", geometric=True), bands(table.assign(A=np.log10(table["A"])), "A")
    ends = ["mean", "low", "high"]
    np.testing.assert_allclose(found[ends], 10 ** log[ends])
    np.testing.assert_allclose(found["mean"], 1.0)


def test_bands_are_intervals_over_seeds_at_each_epoch():
    table = bands(curves("some"), "elbo", ["method", "decoder"])
    assert len(table) == 5 * 3
    row = where(table, method="full", decoder="one layer", epoch=2).iloc[0]
    want = interval([-6.0, -11.0, -16.0])
    assert (row["mean"], row["low"], row["high"]) == (want.mean, want.low, want.high)
    assert set(bands(curves("some"), "val_elbo", ["method", "decoder"])["epoch"]) == {3}


def test_results_that_were_made_here_are_a_table_too():
    made = [record(CONFIGS[0]), record(CONFIGS[2])]
    assert frame(made)[["study", "method", "phi_rate"]].values.tolist() == [
        ["", "full", 1.0],
        ["", "full, phi x5", 5.0],
    ]
    assert curves(made, "some")["study"].value_counts().to_dict() == {"": 6, "some": 45}
