"""Replays: bit for bit on the recorded kind of machine, elsewhere within the spread of the seeds."""

import hashlib
import json
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny import STUDY, TINY

from condkl.studies import run, store, verify
from condkl.studies.config import canonical_json
from condkl.studies.engine import trained
from condkl.studies.verify import replay, replay_sample

ELSEWHERE = {"processor": "another", "device": "cpu", "system": "Linux", "torch": "0"}
SEEDS = range(0, len(STUDY), 2)  # of STUDY with `full`: three seeds of one setting


@pytest.fixture
def records(recorded):
    return store.read_study("tiny", STUDY)


def sha256(raw):
    return hashlib.sha256(raw).hexdigest()


def changed(record, column, by, row=0):
    metrics = record.metrics.copy()
    metrics.loc[row, column] += by
    return replace(record, metrics=metrics)


def test_on_the_recorded_kind_of_machine_a_replay_agrees_to_the_last_bit(records):
    for found in replay_sample(records, count=len(records), seed=0):
        assert (found.same_machine, found.passed, found.detail) == (True, True, "bit for bit")


@pytest.mark.parametrize("column", ["elbo", "C", "norm_A", "gain_modified", "cos_RA"])
def test_a_number_changed_in_its_last_digits_is_found(column, records):
    found = replay(changed(records[0], column, 1e-12 * records[0].metrics[column][0]), records)
    assert (found.same_machine, found.passed) == (True, False)
    assert "recorded" in found.detail


def test_a_record_changed_and_sealed_again_is_found_by_its_replay(recorded, results):
    folder = recorded / TINY.id
    table = pd.read_csv(folder / "metrics.csv")
    table.loc[0, "elbo"] += 0.5
    raw = store.metrics_csv(table)
    (folder / "metrics.csv").write_bytes(raw)
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["files"]["metrics.csv"] = sha256(raw)
    del provenance["seal"]
    provenance["seal"] = sha256(canonical_json(provenance).encode())
    (folder / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")
    assert verify.problems({"tiny": STUDY}) == []  # whole, but not what the run gives
    assert not replay(store.read("tiny", TINY), [store.read("tiny", TINY)]).passed


def test_on_another_machine_a_replay_lies_within_the_spread_of_the_seeds(records, monkeypatch):
    monkeypatch.setattr(verify, "machine", lambda: ELSEWHERE)
    found = replay_sample(records, count=len(records), seed=0)
    assert len(found) == len(records)
    for one in found:
        assert (one.same_machine, one.passed) == (False, True)
        assert "of the seeds' spread" in one.detail


@pytest.mark.parametrize("column", ["elbo", "R", "A", "C"])
def test_on_another_machine_a_term_outside_the_spread_of_the_seeds_fails(column, records, monkeypatch):
    monkeypatch.setattr(verify, "machine", lambda: ELSEWHERE)
    seeds = [changed(records[i], column, 1000.0) for i in SEEDS]
    assert not replay(seeds[0], seeds).passed
    assert replay(records[0], [records[i] for i in SEEDS]).passed


def test_a_one_layer_model_whose_C_is_0_replays_elsewhere_too(monkeypatch):
    monkeypatch.setattr(verify, "machine", lambda: ELSEWHERE)
    seeds = [run(replace(TINY, latents=(2,), gradients=0, seed=seed)) for seed in range(3)]
    assert all(found.passed for found in replay_sample(seeds, 3, seed=0))


def test_a_lone_seed_has_no_spread_and_is_drawn_on_its_own_machine_only(records, monkeypatch):
    lone = [records[0], records[1]]
    assert len(replay_sample(lone, 2, seed=0)) == 2
    monkeypatch.setattr(verify, "machine", lambda: ELSEWHERE)
    assert replay_sample(lone, 2, seed=0) == []
    assert {found.config.objective for found in replay_sample([*lone, records[2]], 3, seed=0)} == {"full"}


def test_a_compiled_record_is_replayed_without_a_compiler_but_not_to_the_bit(records, monkeypatch):
    asked = []

    def spy(config, state, compiled):
        asked.append(compiled)
        return trained(config, state, compiled)

    seeds = [replace(records[i], provenance=records[i].provenance | {"compiled": True}) for i in SEEDS]
    monkeypatch.setattr(verify, "compiler_found", lambda: False)
    monkeypatch.setattr(verify, "trained", spy)
    found = replay(seeds[0], seeds)
    assert (found.same_machine, found.passed, asked) == (False, True, [False])


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
