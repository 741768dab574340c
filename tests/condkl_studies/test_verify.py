"""Whether records that were altered and sealed again are found, and what is kept of a verification."""

import hashlib
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from tiny import STUDY, TINY, plan

from condkl_studies import store, verify
from condkl_studies.config import canonical_json
from condkl_studies.machine import commit
from condkl_studies.replay import replay, replay_sample

PLANS = {"tiny": plan(*STUDY)}


@pytest.fixture
def records(recorded):
    return store.read_study("tiny", STUDY)


def sha256(raw):
    return hashlib.sha256(raw).hexdigest()


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
    assert verify.checked(PLANS)[1] == []  # whole, but not what the run gives
    assert not replay(store.read("tiny", TINY), [store.read("tiny", TINY)]).passed


def kept(*replays):
    """Keep a verification of the study `tiny`; gives it as it is read back, and its file."""
    file = verify.keep_verification(PLANS, replays)
    return verify.last_verification(), file


def test_without_a_verification_there_is_none(recorded):
    assert verify.last_verification() is None


def test_a_verification_is_kept_with_what_it_checked_and_where(recorded, records):
    found, file = kept(*replay_sample(records, 2, seed=0))
    assert file == recorded.parent / "verified.json"
    assert [path.name for path in recorded.parent.iterdir() if path.is_file()] == ["verified.json"]
    assert found.machine == records[0].provenance["machine"]
    assert found.commit == commit()
    assert 0 <= (datetime.now(UTC) - datetime.fromisoformat(found.passed)).total_seconds() < 60
    assert found.records == {"tiny": len(STUDY)}
    assert len(found.replays) == 2
    for one in found.replays:
        assert one.label in {config.label for config in STUDY if config.id == one.run}
        assert (one.same_machine, one.detail) == (True, "bit for bit")


def test_the_file_of_a_verification_is_no_record(recorded):
    kept()
    assert verify.checked(PLANS)[1] == []
    assert store.read_study("tiny", STUDY)


def test_a_verification_is_outdated_once_a_record_comes_goes_or_is_made_anew(results):
    for result in results[:-1]:
        store.write("tiny", result)
    found, _ = kept()
    assert found.outdated(PLANS | {"nothing yet": plan(*STUDY)}) == []
    last = store.write("tiny", results[-1])
    assert found.outdated(PLANS) == ["tiny"]
    shutil.rmtree(last)
    assert found.outdated(PLANS) == []
    first = store.record_folder("tiny", STUDY[0])
    shutil.rmtree(first)
    assert found.outdated(PLANS) == ["tiny"]
    store.write("tiny", replace(results[0], provenance=results[0].provenance | {"finished": "later"}))
    assert found.outdated(PLANS) == ["tiny"]
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
