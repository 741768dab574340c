"""A first window trained again: bit for bit on the recorded kind of machine, elsewhere beside the recorded seeds."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from tiny import STUDY, TINY

from condkl_studies import RunConfig, fit_run, store
from condkl_studies import replay as replay_module
from condkl_studies.engine import trained
from condkl_studies.replay import TERMS, beside, prediction_interval, replay, replay_sample, train_beside

ELSEWHERE = {"processor": "another", "device": "cpu", "system": "Linux", "torch": "0"}
FULL = range(0, len(STUDY), 2)  # of STUDY with `full`: three seeds of one setting
MADE = RunConfig(
    "full", skip=False, seed=0, steps=6, data="made", latents=(2, 3), hidden=(8, 8), batch_size=20, every=2
)
SEEDS = [replace(MADE, seed=seed) for seed in range(4)]


@pytest.fixture
def records(recorded):
    return store.read_study("tiny", STUDY)


def changed(record, column, by, row=0):
    metrics = record.metrics.copy()
    metrics.loc[row, column] += by
    return replace(record, metrics=metrics)


def test_on_the_recorded_kind_of_machine_a_replay_agrees_to_the_last_bit(records):
    for found in replay_sample(records, count=len(records), seed=0):
        assert (found.bits, found.passed, str(found)) == (True, True, "bit for bit")


@pytest.mark.parametrize("column", ["elbo", "C", "norm_A", "gain_modified", "cos_RA"])
def test_a_number_changed_in_its_last_digits_is_found(column, records):
    found = replay(changed(records[0], column, 1e-12 * records[0].metrics[column][0]), records)
    assert (found.bits, found.passed) == (False, False)
    assert "the record has other bits" in str(found)


def test_on_another_machine_a_replay_lies_within_the_spread_of_the_seeds(records, monkeypatch):
    monkeypatch.setattr(replay_module, "machine", lambda: ELSEWHERE)
    found = replay_sample(records, count=len(records), seed=0)
    assert len(found) == len(records)
    for one in found:
        assert (one.bits, one.passed) == (None, True)
        assert str(one) == "inside the 99.9% prediction interval of 3 recorded seeds"


@pytest.mark.parametrize("column", ["elbo", "R", "A", "C"])
def test_on_another_machine_a_term_outside_the_spread_of_the_seeds_fails(column, records, monkeypatch):
    monkeypatch.setattr(replay_module, "machine", lambda: ELSEWHERE)
    seeds = [changed(records[i], column, 1000.0) for i in FULL]
    assert not replay(seeds[0], seeds).passed
    assert replay(records[0], [records[i] for i in FULL]).passed


def test_a_one_layer_model_whose_C_is_0_replays_elsewhere_too(monkeypatch):
    monkeypatch.setattr(replay_module, "machine", lambda: ELSEWHERE)
    seeds = [fit_run(replace(TINY, latents=(2,), gradient_batches=0, seed=seed)) for seed in range(3)]
    assert all(found.passed for found in replay_sample(seeds, 3, seed=0))


def test_a_lone_seed_has_no_spread_and_is_drawn_on_its_own_machine_only(records, monkeypatch):
    lone = [records[0], records[1]]
    assert len(replay_sample(lone, 2, seed=0)) == 2
    monkeypatch.setattr(replay_module, "machine", lambda: ELSEWHERE)
    assert replay_sample(lone, 2, seed=0) == []
    assert {found.config.objective for found in replay_sample([*lone, records[2]], 3, seed=0)} == {"full"}


@pytest.mark.parametrize(("found", "eager"), [(False, False), (True, True)], ids=["none found", "eager"])
def test_a_compiled_record_is_replayed_without_a_compiler_but_not_to_the_bit(found, eager, records, monkeypatch):
    asked = []

    def spy(config, state, compiled):
        asked.append(compiled)
        return trained(config, state, compiled)

    seeds = [replace(records[i], provenance=records[i].provenance | {"compiled": True}) for i in FULL]
    monkeypatch.setattr(replay_module, "compiler_found", lambda: found)
    monkeypatch.setattr(replay_module, "trained", spy)
    again = replay(seeds[0], seeds, eager)
    assert (again.bits, again.passed, asked) == (None, True, [False])


def test_a_replay_computes_with_the_recorded_number_of_threads(records, monkeypatch):
    set_to = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    replay(records[0], [records[0]])
    assert set_to == [records[0].provenance["threads"]] == [1]


def test_the_sample_is_drawn_with_its_seed(records):
    def drawn(seed):
        return [found.config for found in replay_sample(records, 2, seed)]

    assert drawn(0) == drawn(0)
    assert len({tuple(drawn(seed)) for seed in range(4)}) > 1
    assert len(set(drawn(1))) == 2
    assert replay_sample(records, 0, seed=0) == []
    assert replay_sample([], 3, seed=0) == []


# Beside the records of all studies.


@pytest.fixture(scope="module")
def made():
    return [fit_run(config, device="cpu") for config in SEEDS]


@pytest.fixture
def three(made, planned):
    """Seeds 0 to 2 recorded, seed 3 planned and not recorded."""
    planned(made=SEEDS)
    for result in made[:3]:
        store.write("made", result)
    return made


def test_the_first_window_repeats_the_record_of_its_seed(three):
    found = train_beside(MADE)
    assert found.passed
    assert list(found.seeds.index) == [0, 1, 2]
    table = found.table
    assert list(table.columns) == ["here", "recorded", "low", "high"]
    assert list(table.index) == list(TERMS)
    pd.testing.assert_series_equal(table["here"], table["recorded"], check_names=False)
    assert str(found) == "inside the 99.9% prediction interval of 3 recorded seeds"


def test_only_the_first_window_is_trained(three, monkeypatch):
    steps = []

    def spy(*arguments):
        for each in trained(*arguments):
            steps.append(each.step)
            yield each

    monkeypatch.setattr(replay_module, "trained", spy)
    train_beside(MADE)
    assert steps == [MADE.every]


def test_a_seed_without_a_record_is_compared_with_the_others(three):
    found = train_beside(SEEDS[3])
    assert list(found.seeds.index) == [0, 1, 2]
    assert found.table["recorded"].isna().all()
    assert found.passed is not None


@pytest.mark.parametrize("setting", [{"objective": "modified"}, {"skip": True}, {"learning_rate": 2e-3}])
def test_another_setting_has_no_record_to_compare_with(setting, three):
    found = train_beside(replace(MADE, **setting))
    assert found.passed is None
    assert list(found.table.columns) == ["here"]
    assert str(found) == "there is no record of this setting to compare with"


def test_one_recorded_seed_has_no_spread(three, planned):
    planned(made=SEEDS[:1])
    found = train_beside(MADE)
    assert found.passed is None
    assert list(found.table.columns) == ["here", "recorded"]
    assert str(found) == "there is only 1 recorded seed of this setting to compare with"


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_term_far_from_all_seeds_is_named(term, sign, three):
    here = dict(three[0].metrics.iloc[0])
    found = beside(MADE, here | {term: here[term] + sign * 1e4})
    assert found.passed is False
    assert str(found).startswith(f"OUTSIDE ({term})")


def test_a_one_layer_model_has_a_C_of_zero_inside_an_interval_of_zero(three, planned):
    one = [replace(config, latents=(2,)) for config in SEEDS[:3]]
    planned(one=one)
    for config in one:
        store.write("one", fit_run(config, device="cpu"))
    found = train_beside(one[0])
    assert found.passed
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


def test_the_number_of_threads_is_as_before(three):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train_beside(MADE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_broken_record_is_reported(three):
    (store.record_folder("made", MADE) / "metrics.csv").write_text("step\n")
    with pytest.raises(store.RecordError, match=r"metrics\.csv"):
        train_beside(MADE)
