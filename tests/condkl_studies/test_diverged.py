"""A run that may diverge and does: recorded up to there, read back, and in the tables as what it is."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pandas as pd
import pytest
from tiny import DIVERGING, TINY

from condkl_studies import RunFailedError, fit_run, store
from condkl_studies.cache import Cache
from condkl_studies.models import hierarchical
from condkl_studies.replay import beside, replay_sample
from condkl_studies.results import curves, frame
from condkl_studies.schedule import run_study

LATE = replace(DIVERGING, every=1, may_diverge=True)  # after a whole window
EARLY = replace(DIVERGING, every=6, may_diverge=True)  # in the first one
WHOLE = replace(TINY, may_diverge=True)


@pytest.fixture
def study(planned, cache):
    """A study of three runs, recorded."""
    configs = [LATE, EARLY, WHOLE]
    planned(tiny=configs)
    with ThreadPoolExecutor(1) as thread:
        outcome = run_study("tiny", configs, thread, cache, progress=False)
    assert (outcome.recorded, outcome.failed) == (configs, [])
    assert all(Cache(cache / config.id).peek() is None for config in configs)
    return store.read_study("tiny", configs)


def test_its_record_has_what_was_whole_before_and_the_step(study):
    late, early, whole = study
    assert len(late.metrics) > 0
    assert late.metrics.step.tolist() == list(range(1, int(late.samples["diverged_at"])))
    assert late.metrics.filter(["elbo", "R", "A", "C"]).notna().all(axis=None)
    assert (len(early.metrics), set(early.samples)) == (0, {"diverged_at"})
    assert 1 < int(early.samples["diverged_at"]) <= 6
    assert "diverged_at" not in whole.samples


def test_without_its_permission_it_is_an_error_that_names_the_step(cache):
    config, allowed = replace(LATE, may_diverge=False), fit_run(LATE)
    with pytest.raises(RunFailedError) as caught:
        fit_run(config, cache)
    assert caught.value.step == allowed.samples["diverged_at"]
    assert pd.DataFrame(Cache(cache / config.id).peek()["rows"]).equals(allowed.metrics)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.step) == (str(caught.value), caught.value.step)


def test_the_permission_changes_no_number_of_a_run_that_stays_finite(study, results):
    assert study[2].metrics.equals(results[0].metrics)


def test_the_tables_have_no_figures_of_it_but_its_step(study):
    table = frame("tiny").set_index("run")
    assert table.diverged_at.notna().tolist() == [True, True, False]
    assert table.elbo.notna().tolist() == [False, False, True]
    assert table.diverged_at[LATE.id] == study[0].samples["diverged_at"]
    assert set(curves("tiny").run) == {LATE.id, WHOLE.id}
    assert len(curves("tiny")) == len(study[0].metrics) + len(study[2].metrics)


def test_what_has_no_whole_window_is_not_repeated(study):
    assert len(beside(EARLY, dict.fromkeys(("elbo", "R", "A", "C"), 0.0)).seeds) == 0
    assert {one.config for one in replay_sample(study, count=3, seed=0)} == {LATE, WHOLE}
    assert all(one.bits for one in replay_sample(study, count=3, seed=0))


def test_weights_that_only_the_validation_finds_broken_leave_a_row_without_it(monkeypatch):
    broken = {"elbo": math.nan, "R": math.nan, "A": 1.0, "C": 1.0}
    monkeypatch.setattr(hierarchical, "mean_terms", lambda *args: broken)
    found = fit_run(replace(WHOLE, validate_every=2))
    assert (int(found.samples["diverged_at"]), found.metrics.step.tolist()) == (4, [2, 4])
    assert found.metrics.filter(like="val_").empty
