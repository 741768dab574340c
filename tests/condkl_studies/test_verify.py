"""Replays: bit for bit on the recorded kind of machine, elsewhere within the spread of the seeds."""

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny import STUDY, TINY

from condkl_studies import run, store, verify
from condkl_studies.config import canonical_json
from condkl_studies.engine import trained
from condkl_studies.verify import replay, replay_sample

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


def kept(*replays):
    """Keep a verification of the study `tiny`; gives it as it is read back, and its file."""
    file = verify.keep_verification({"tiny": STUDY}, replays)
    return verify.last_verification(), file


def test_without_a_verification_there_is_none(recorded):
    assert verify.last_verification() is None


def test_a_verification_is_kept_with_what_it_checked_and_where(recorded, records):
    found, file = kept(*replay_sample(records, 2, seed=0))
    assert file == recorded.parent / "verified.json"
    assert [path.name for path in recorded.parent.iterdir() if path.is_file()] == ["verified.json"]
    assert found.machine == records[0].provenance["machine"]
    assert found.commit == records[0].provenance["commit"]
    assert 0 <= (datetime.now(UTC) - datetime.fromisoformat(found.passed)).total_seconds() < 60
    assert found.records == {"tiny": len(STUDY)}
    assert len(found.replays) == 2
    for one in found.replays:
        assert one.label in {config.label for config in STUDY if config.id == one.run}
        assert (one.same_machine, one.detail) == (True, "bit for bit")


def test_the_file_of_a_verification_is_no_record(recorded):
    kept()
    assert verify.problems({"tiny": STUDY}) == []
    assert store.read_study("tiny", STUDY)


def test_a_verification_is_outdated_once_a_record_comes_goes_or_is_made_anew(results):
    for result in results[:-1]:
        store.write("tiny", result)
    found, _ = kept()
    assert found.outdated({"tiny": STUDY, "nothing yet": STUDY}) == []
    last = store.write("tiny", results[-1])
    assert found.outdated({"tiny": STUDY}) == ["tiny"]
    shutil.rmtree(last)
    assert found.outdated({"tiny": STUDY}) == []
    first = store.record_folder("tiny", STUDY[0])
    shutil.rmtree(first)
    assert found.outdated({"tiny": STUDY}) == ["tiny"]
    store.write("tiny", replace(results[0], provenance=results[0].provenance | {"finished": "later"}))
    assert found.outdated({"tiny": STUDY}) == ["tiny"]
    assert found.outdated({}) == ["tiny"]  # a study that is no more


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: '{"seal": 1}',
        lambda text: text.replace('"tiny": 6', '"tiny": 7'),
        lambda text: text.replace('"passed": "20', '"passed": "19'),
    ],
    ids=["half", "empty", "another kind", "bare", "count", "time"],
)
def test_a_verification_that_is_truncated_or_altered_is_refused(change, recorded):
    _, file = kept()
    text = file.read_text()
    file.write_text(change(text))
    assert file.read_text() != text
    with pytest.raises(store.RecordError, match=r"verified\.json: truncated or altered.*make verify"):
        verify.last_verification()


def test_a_death_while_a_verification_is_kept_leaves_the_one_before(recorded, monkeypatch):
    before, file = kept()

    def dies(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        verify.keep_verification({}, [])
    assert verify.last_verification() == before
    assert [path.name for path in file.parent.iterdir() if not path.name.startswith(".") and path.is_file()] == [
        file.name
    ]
