"""Recorded runs as tables: the right figures of the right runs, intervals that cover, and pairs by seed."""

import base64
import io
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from condkl_studies import results, store
from condkl_studies.config import RunConfig
from condkl_studies.engine import RunResult
from condkl_studies.plans import EPOCH
from condkl_studies.results import Interval, bands, curves, interval, paired, runs, source, where

RECORDED = store.runs_folder() / "main" / results.STUDIES["main"][0].id
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
        "sources": "fedcba9876543210",
        "finished": "2026-11-22T00:00:00+00:00",
    }
    return RunResult(config, metrics, samples, provenance)


@pytest.fixture(autouse=True)
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path))
    monkeypatch.setitem(results.STUDIES, "some", CONFIGS)
    for config in CONFIGS:
        store.write("some", record(config))


def test_a_row_for_each_run_with_its_own_figures():
    table = runs("some")
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
    assert table["way"].tolist() == ["full", "modified", "fast_phi", "full", "full"] * 3
    assert table["decoder"].tolist() == ["p(x|u)", "p(x|u)", "p(x|u)", "p(x|u,v)", "one layer"] * 3


def test_a_run_without_likelihoods_has_none(monkeypatch):
    config = replace(BASE, likelihood_images=0, likelihood_samples=0)
    result = record(BASE)
    del result.samples["log_likelihood"]
    monkeypatch.setitem(results.STUDIES, "other", [config])
    store.write("other", replace(result, config=config))
    assert math.isnan(runs("other")["log_likelihood"].item())


def test_likelihoods_of_all_images_are_compared_on_those_that_other_runs_have(monkeypatch):
    config = replace(BASE, likelihood_images=10_000, likelihood_samples=5)
    result = record(BASE)
    result.samples["log_likelihood"] = np.random.default_rng(0).normal(size=10_000)
    monkeypatch.setitem(results.STUDIES, "other", [config])
    store.write("other", replace(result, config=config))
    images = store.read_folder(RECORDED).samples["likelihood_image"]
    want = result.samples["log_likelihood"][images].mean()
    np.testing.assert_allclose(runs("other")["log_likelihood"].item(), want)


def test_curves_have_a_row_for_each_epoch_of_each_run():
    table = curves("some")
    assert len(table) == 3 * len(CONFIGS)
    one = where(table, run=CONFIGS[7].id)
    assert one["epoch"].tolist() == [1, 2, 3]
    assert one["elbo"].tolist() == [-10, -9, -8]
    assert set(one["seed"]) == {1}


def test_a_missing_run_is_an_error_that_names_the_command():
    shutil.rmtree(store.record_folder("some", CONFIGS[4]))
    for table in (runs, curves):
        with pytest.raises(store.RecordError, match="make study NAME=some"):
            table("some")


def test_a_setting_that_no_run_has_is_an_error():
    with pytest.raises(ValueError, match="settings: expected those of some row"):
        where(runs("some"), way="full", seed=17)


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


def test_an_interval_is_written_with_a_minus_and_its_half_width():
    assert str(Interval(-1.234, 0.5, 3)) == "−1.23 ± 0.50"
    assert f"{Interval(1.25, 0.5, 3):+.1f}" == "+1.2 ± 0.5"
    assert f"{Interval(-0.001, 0.5, 3):+.2f}" == "+0.00 ± 0.50"


def test_pairs_are_by_seed_whatever_the_order():
    table = runs("some").sample(frac=1, random_state=1)
    found = paired(table, "elbo", {"way": "modified"}, {"way": "full", "decoder": "p(x|u)"})
    assert (found.mean, found.half, found.n) == (-1.0, 0.0, 3)


def test_only_common_seeds_are_paired():
    table = runs("some")
    table = table[~((table["way"] == "modified") & (table["seed"] == 2))]
    assert paired(table, "elbo", {"way": "modified"}, {"way": "full", "decoder": "p(x|u)"}).n == 2


def test_a_setting_with_a_seed_twice_is_an_error():
    with pytest.raises(ValueError, match="one run a seed"):
        paired(runs("some"), "elbo", {"way": "modified"}, {"way": "full"})


def test_bands_are_intervals_over_seeds_at_each_epoch():
    table = bands(curves("some"), "elbo", ["way", "decoder"])
    assert len(table) == 5 * 3
    row = where(table, way="full", decoder="one layer", epoch=2).iloc[0]
    want = interval([-6.0, -11.0, -16.0])
    assert (row["mean"], row["low"], row["high"]) == (want.mean, want.low, want.high)
    assert set(bands(curves("some"), "val_elbo", ["way", "decoder"])["epoch"]) == {3}


def test_the_source_names_runs_seeds_hardware_and_commit_and_holds_the_data():
    table = where(curves("some"), decoder="p(x|u)", way="modified")
    shown = source(table[["epoch", "elbo"]], "a-name", table)
    assert str(shown) == ("3 recorded runs of some, seeds 0 to 2, on a processor (cpu), 3.0 hours in all")
    html = shown._repr_mimebundle_()["text/html"]
    assert "commit <code>01234567</code>" in html
    assert all(f"<code>{config.id[:8]}</code>" in html for config in CONFIGS if config.objective == "modified")
    (coded,) = re.findall(r'download="a-name.csv" href="data:text/csv;base64,([^"]+)"', html)
    again = pd.read_csv(io.BytesIO(base64.b64decode(coded)))
    pd.testing.assert_frame_equal(again, table[["epoch", "elbo"]].reset_index(drop=True), check_dtype=False, rtol=1e-5)


def test_the_ids_of_two_studies_stand_apart(monkeypatch):
    monkeypatch.setitem(results.STUDIES, "other", CONFIGS[:1])
    store.write("other", record(CONFIGS[0]))
    table = pd.concat([where(runs("some"), way="modified", seed=0), runs("other")])
    html = source(table, "a-name", table)._repr_mimebundle_()["text/html"]
    for study, config in (("some", CONFIGS[1]), ("other", CONFIGS[0])):
        assert f"<code>data/runs/{study}</code>: <code>{config.id[:8]}</code></p>" in html


def test_a_source_of_one_seed_says_so():
    table = where(runs("some"), decoder="one layer", seed=1)
    assert str(source(table, "one", table)).startswith("1 recorded run of some, seed 1, on")
