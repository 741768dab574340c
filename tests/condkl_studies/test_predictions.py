"""Predictions: each can hold and can fail, reads what it declares, and says of the records what it said before."""

import subprocess
from dataclasses import asdict
from functools import cache
from pathlib import Path

import counted_world
import pandas as pd
import pytest
import worlds

from condkl_studies import plans, predictions, results, store
from condkl_studies.predictions import PLAIN, SKIP, Verdict, tally

ALL = {one.number: one for one in predictions.predictions()}
FAILED = [4, 9, 13, 16, 19, 25, 28]
# A world in which every prediction holds: by decoder and method A, C, ELBO and likelihood estimate.
WORLD = {
    PLAIN: {
        "full": (6.0, 18.0, -95.0, -91.0),
        "modified": (0.01, 24.0, -96.5, -92.9),
        "lambda=0.5": (3.0, 20.0, -96.0, -92.0),
        "lambda=0.7": (0.05, 20.0, -96.0, -92.0),
        "lambda=0.9": (4.0, 20.0, -95.2, -92.0),
        "lambda_warm_up": (0.05, 20.0, -96.0, -92.0),
        "kl_warm_up": (8.0, 20.0, -95.0, -90.0),
        "free_bits": (3.5, 20.0, -95.1, -91.0),
        "full, phi x5": (2.0, 20.0, -96.0, -92.0),
        "prior_mixture": (4.0, 20.0, -96.0, -92.0),
    },
    SKIP: {
        "full": (15.0, 11.0, -95.0, -91.0),
        "modified": (3.0, 17.0, -96.2, -92.0),
        "lambda=0.5": (5.0, 15.0, -96.0, -92.0),
        "lambda=0.7": (8.0, 14.0, -96.0, -92.0),
        "lambda=0.9": (12.0, 12.0, -95.2, -92.0),
        "lambda_warm_up": (6.0, 15.0, -96.0, -92.0),
        "kl_warm_up": (14.0, 12.0, -96.0, -92.0),
        "free_bits": (15.0, 11.0, -95.0, -91.0),
        "full, phi x5": (10.0, 12.0, -96.0, -92.0),
        "prior_mixture": (12.0, 12.0, -96.0, -92.0),
    },
    "one layer": {"full": (20.0, 0.0, -97.0, -93.0)},
}
KNOWN = {"full": (0.8, 1.0, -24.5, -24.5)}  # all other methods lose v there
SLOW_RATES = {0.001: -97.0, 0.004: -97.5}
# What makes each fail: rows of one of its tables, a column, and what stands there instead.
BREAKS = {
    1: ("main", {"method": "modified", "decoder": PLAIN, "seed": 2}, "val_A", 0.1),
    2: ("main", {"method": "full", "decoder": PLAIN, "seed": 0}, "active_v", 2),
    3: ("main", {"method": "modified", "decoder": SKIP, "seed": 1}, "val_A", 1.0),
    4: ("main", {"method": "lambda=0.5", "decoder": PLAIN}, "val_A", 0.01),
    5: ("main", {"method": "lambda_warm_up", "decoder": PLAIN, "seed": 3}, "val_A", 0.1),
    6: ("main", {"method": "lambda_warm_up", "decoder": SKIP}, "val_A", 3.0),
    7: ("main_curves", {"method": "modified", "decoder": PLAIN, "epoch": 3}, "elbo", -110.0),
    8: ("main", {"method": "modified", "decoder": PLAIN}, "elbo", -94.0),
    9: ("main", {"method": "modified", "decoder": SKIP}, "elbo", -96.7),
    10: ("main", {"decoder": "one layer"}, "log_likelihood", -94.5),
    11: ("main", {"method": "modified", "decoder": SKIP}, "val_C", 11.0),
    12: ("main_curves", {"method": "full", "decoder": SKIP, "seed": 4}, "cos_AC", 0.1),
    13: ("cures", {"method": "full, phi x5", "decoder": PLAIN, "seed": 0}, "val_A", 1.0),
    14: ("cures", {"method": "free_bits", "decoder": SKIP, "seed": 1}, "val_A", 2.5),
    15: ("cures", {"method": "kl_warm_up", "decoder": PLAIN}, "active_v", 6),
    16: ("cures", {"method": "prior_mixture", "decoder": SKIP}, "elbo", -97.1),
    17: ("cures", {"decoder": PLAIN}, "elbo", -96.6),
    18: ("controlled", {"method": "modified", "data": "crossed", "seed": 2}, "val_A", 0.1),
    19: ("controlled", {"method": "lambda_drop", "data": "tight", "seed": 0}, "val_A", 0.3),
    20: ("controlled", {"method": "lambda_drop", "data": "loose", "seed": 1}, "val_A", 0.1),
    21: ("controlled", {"method": "full", "data": "loose", "seed": 1}, "elbo", -24.0),
    22: ("controlled_curves", {"method": "modified", "data": "tight", "epoch": range(5, 20)}, "elbo", -101.2),
    23: ("long", {"method": "lambda_warm_up", "decoder": PLAIN, "seed": 1}, "active_v", 1),
    24: ("long", {"method": "full", "decoder": PLAIN}, "log_likelihood", -93.0),
    25: ("long", {"method": "modified", "decoder": SKIP}, "log_likelihood", -93.0),
    26: ("long", {"method": "full", "decoder": SKIP}, "log_likelihood", -85.0),
    27: ("weights", {"method": "lambda=0.9", "decoder": PLAIN, "seed": 4}, "val_A", 1.0),
    28: ("weights", {"method": "lambda=0.7", "decoder": PLAIN, "seed": 0}, "val_A", 0.1),
    29: ("weights", {"method": "lambda=0.9", "data": "crossed", "seed": 0}, "val_A", 0.1),
    30: ("weights", {"method": "lambda=0.9", "decoder": SKIP}, "elbo", -95.6),
    31: ("weights", {"method": "lambda=0.7", "decoder": SKIP}, "val_A", 12.0),
    32: ("rates", {"learning_rate": 0.004, "decoder": PLAIN, "seed": 0}, "val_A", 0.1),
    33: ("rates", {"learning_rate": 0.001, "decoder": SKIP}, "elbo", -94.0),
    34: ("fashion", {"method": "modified", "decoder": PLAIN, "seed": 0}, "active_v", 1),
    35: ("fashion", {"method": "full", "decoder": PLAIN, "seed": 1}, "val_A", 2.0),
    36: ("fashion", {"method": "modified", "decoder": SKIP, "seed": 2}, "val_A", 8.0),
    37: ("fashion", {"method": "lambda_warm_up", "decoder": PLAIN, "seed": [0, 1]}, "val_A", 0.1),
    38: ("fashion", {"method": "modified", "decoder": SKIP}, "elbo", -98.1),
    39: ("fashion", {"decoder": "one layer"}, "log_likelihood", -93.5),
    40: ("fashion", {"method": "kl_warm_up", "decoder": SKIP}, "elbo", -94.9),
    **worlds.BREAKS,
    **counted_world.BREAKS,
}


def frame(study):
    rows = []
    for config in plans.study(study).configs:
        world = WORLD[config.decoder] if config.latents != (1, 2) else KNOWN
        A, C, elbo, likelihood = world.get(config.method, (0.01, 2.0, -24.6, -24.6))
        if config.data == "tight" and config.method == "lambda_drop":
            A = 0.5
        elbo = SLOW_RATES.get(config.learning_rate, elbo)
        rows.append(asdict(config) | {
            "decoder": config.decoder, "method": config.method, "epochs": config.steps / plans.EPOCH, "val_A": A,
            "val_C": C, "elbo": elbo, "log_likelihood": likelihood, "active_v": round(A) if A >= 0.1 else 0,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    table[["elbo", "log_likelihood"]] += 1e-3 * table[["seed"]].to_numpy()
    return table


def curves(study):
    table = frame(study).drop(columns="elbo")
    table = pd.concat([table.assign(epoch=epoch) for epoch in range(1, int(table.epochs.max()) + 1)])
    early = (table.method == "modified") & (table.data == "mnist") & (table.epoch < 6)
    table["elbo"] = -100 - 5.0 / table.epoch + 2.0 * early - 1.0 * (table.method == "modified") + 1e-3 * table.seed
    return table.assign(cos_AC=-0.5)


def table(name):
    return made(name).copy()  # whoever breaks it has his own


@cache
def made(name):
    for world in (worlds, counted_world):
        if name in world.names():
            return world.table(name)
    if name == "evidence":
        return pd.DataFrame({"all": -24.4}, index=["tight", "loose", "crossed"])
    return curves(name.removesuffix("_curves")) if name.endswith("_curves") else frame(name)


def broken(found, settings, column, value):
    rows = pd.Series(True, index=found.reset_index(drop=True).index)
    found = found.reset_index(drop=True)
    for name, wanted in settings.items():
        rows &= found[name].isin(wanted if isinstance(wanted, list | range) else [wanted])
    assert rows.any()
    found.loc[rows, column] = value
    return found


@pytest.fixture
def records(monkeypatch):
    """The project's own records, which no other test reads."""
    monkeypatch.delenv("CONDKL_DATA", raising=False)


@pytest.mark.parametrize("number", ALL)
def test_it_holds_where_all_is_as_predicted(number, monkeypatch):
    for reader in ("read", "read_folder", "read_study"):
        monkeypatch.setattr(store, reader, None)  # it sees the tables that it declares, and no other
    one = ALL[number]
    found = one.verdict({name: table(name) for name in one.reads})
    assert found.held is True, found.evidence
    assert found.evidence.endswith(".")
    assert "nan" not in found.evidence
    assert found.margin is None or found.margin > 0


@pytest.mark.parametrize("number", ALL)
def test_it_fails_where_one_thing_is_not_as_predicted(number):
    one, (name, *change) = ALL[number], BREAKS[number]
    found = one.verdict({read: table(read) for read in one.reads} | {name: broken(table(name), *change)})
    assert found.held is False, found.evidence
    assert found.margin is None or found.margin <= 0


@pytest.mark.parametrize(("number", "name", "settings", "column", "value"), [*worlds.PARTS, *counted_world.PARTS])
def test_it_fails_in_each_of_its_parts(number, name, settings, column, value):
    one = ALL[number]
    read = {reads: table(reads) for reads in one.reads}
    found = one.verdict(read | {name: broken(table(name), settings, column, value)})
    assert found.held is False, found.evidence


def test_most_say_how_far_they_were_from_their_bounds():
    judged = {number: one.verdict({name: table(name) for name in one.reads}) for number, one in ALL.items()}
    assert [number for number, found in judged.items() if found.margin is None] == [51, 56, 57, 60, 61, 62]


def test_a_margin_is_in_units_of_the_bound_and_of_several_the_nearest(records):
    found = ALL[2].verdict({"main": frame("main")})
    assert found.margin == pytest.approx((round(6.0) - 3 + 0.5) / 3)  # six nats are farther from two
    assert ALL[14].verdict({"cures": frame("cures")}).margin == pytest.approx(3.5 / 2.5 - 1)


def test_the_numbers_have_no_gaps():
    assert list(ALL) == list(range(1, len(ALL) + 1))
    assert len(ALL) >= 33


def test_each_declares_its_studies_and_says_when_it_was_made():
    assert {study for one in ALL.values() for study in one.studies} <= set(plans.names())
    assert all(one.studies and one.date for one in ALL.values())
    assert ALL[16].studies == ["cures", "main"]
    assert ALL[22].studies == ["controlled"]
    assert ALL[21].reads == ("controlled", "evidence")


def test_statement_and_reason_are_one_text():
    assert ALL[28].text.startswith(r"**At $\lambda = 0.7$ it is lost.** With $p(x \given u)$")
    assert ALL[28].text.endswith("in every seed. *Reason:* 0.7 is below 0.75.")
    assert ALL[28].reason == "0.7 is below 0.75."
    assert (ALL[2].text, ALL[2].reason) == (ALL[2].statement, "")


def committed(commit, path):
    """A file as a commit has it, in one line; None where git cannot say."""
    command = ["git", "-C", str(Path(__file__).parent), "show", f"{commit}:{path}"]
    try:
        found = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return None
    return None if found.returncode else " ".join(found.stdout.split())


def test_the_words_are_those_that_were_committed():
    if committed("0ad986a", "book/predictions.md") is None:
        pytest.skip("no history here")
    for one in ALL.values():
        module = f"src/condkl_studies/predictions/{one.section}.py"  # those of the page were there first
        if one.commit:
            assert one.text in (committed(one.commit, module) or committed(one.commit, "book/predictions.md"))


def test_the_records_say_what_they_said(records):
    found = {number: verdict for number, verdict in predictions.verdicts().items() if number <= 33}
    by = tally(found)
    assert by["failed"] == FAILED
    assert by["held"] == [number for number in range(1, 34) if number not in FAILED]
    assert by["foreshadowed"] == [1, 2, 3, 5, 7, 11, 12, 18, 24]
    assert by["loose"] == [8, 10, 12, 17, 22, 26]
    assert len(by["risky"]) == 12
    assert found[7].evidence == (
        "in the third epoch eq. (9) minus full is +1.61 ± 0.79 nats of training ELBO. From epoch 7 on it is behind."
    )


def test_without_records_all_are_open(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path))
    found = predictions.verdicts()
    assert tally(found)["open"] == list(ALL)
    assert found[30] == Verdict(None, "0 of 29 runs of weights are recorded. 0 of 45 runs of main are recorded.")


def test_one_missing_run_leaves_its_predictions_open_and_judges_the_others(records, monkeypatch):
    missing = plans.study("cures").configs[0]
    recorded = store.recorded
    monkeypatch.setattr(store, "recorded", lambda study, configs: [c for c in recorded(study, configs) if c != missing])
    monkeypatch.setattr(predictions, "predictions", lambda: [ALL[2], ALL[13], ALL[15]])
    assert [str(verdict) for verdict in predictions.verdicts().values()] == ["held", "open", "open"]


def test_every_table_is_read_once(records, monkeypatch):
    read = []
    monkeypatch.setattr(results, "frame", lambda name: read.append(name) or frame(name))
    monkeypatch.setattr(predictions, "predictions", lambda: [ALL[1], ALL[2], ALL[13], ALL[15]])
    predictions.verdicts()
    assert read == ["main", "cures"]
