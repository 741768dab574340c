"""What the status pages say of notebooks and records, also of missing and broken ones, which stop nothing."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from condkl_book import status
from condkl_studies import RunConfig, RunResult, plans, store, verify
from condkl_studies.replay import Replay

ONE = replace(plans.BASE, steps=1000, every=500)
STUDIES = {
    "main": plans.Study("The first.", tuple(replace(ONE, seed=seed) for seed in range(3))),
    "later": plans.Study("The second.", (replace(ONE, steps=4000, learning_rate=1e-3, schedule="constant"),)),
}
PLACE = {"processor": "A processor", "device": "cpu", "system": "a system", "torch": "2"}


def result(config, elbo=-95.5):
    """A record of a run of 100 seconds, as the engine leaves it."""
    provenance = {
        "commit": "0123456789abcdef", "machine": PLACE, "compiled": True, "device": "cpu",
        "seconds": {"training": 80.0, "evaluation": 20.0}, "finished": "2026-11-22T23:26:04+00:00",
    }  # fmt: skip
    metrics = pd.DataFrame({"step": [500, 1000], "elbo": [-99.0, elbo]})
    return RunResult(config, metrics, {"test": np.array([elbo, -80.0, 5.0, 10.5])}, provenance)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """A data folder of this test's own, and two studies."""
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path))
    monkeypatch.setattr(plans, "studies", lambda: STUDIES)
    monkeypatch.setattr(plans, "study", STUDIES.__getitem__)
    status.runs.cache_clear()
    yield tmp_path
    status.runs.cache_clear()


@pytest.fixture
def main():
    """The study `main`, recorded."""
    return [store.write("main", result(config, -95.0 - config.seed)) for config in STUDIES["main"].configs]


def notebook(folder, name, words, *stamps):
    """A notebook with a title and so many words more, and a cell of code for each pair of times."""
    cells = [{"cell_type": "markdown", "metadata": {}, "source": [f"# The {name}\n", "word " * words]}]
    for began, ended in stamps:
        times = {
            "iopub.status.busy": "2000-01-01T00:00:00Z",
            "iopub.execute_input": began,
            "shell.execute_reply": ended,
        }
        cells.append({"cell_type": "code", "metadata": {"execution": times}, "source": []})
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))


@pytest.fixture
def book(tmp_path):
    """The sources of two chapters, a page, and a page of tables; and a folder with the first one, executed."""
    book, executed = tmp_path / "book", tmp_path / "executed"
    book.mkdir()
    executed.mkdir()
    notebook(book, "01_a", 700)
    notebook(book, "02_b", 800)
    notebook(book, "status", 10)
    (book / "page.md").write_text("word " * 10)
    stamps = ("2026-11-22T23:26:04Z", "2026-11-22T23:26:30Z"), ("2026-11-22T23:26:40Z", "2026-11-22T23:27:04Z")
    notebook(executed, "01_a", 700, *stamps)
    notebook(book, "checks/01_a", 100)
    notebook(executed, "checks/01_a", 100, *stamps)
    return book, executed


def column(table, name):
    return table[name].tolist()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (5969.0, "99 min"), (5971.0, "1.7 h"), (63000.0, "17.5 h")],
)
def test_a_duration_has_the_unit_that_people_would_use(seconds, text):
    assert status.duration(seconds) == text


def test_reading_takes_a_minute_for_150_words_rounded_up_to_five_without_exercises():
    assert [status.reading("word " * n) for n in (1, 750, 751)] == [300, 300, 600]
    exercise = "```{exercise} Title\n:label: a\n" + "word " * 900 + "\n```\n"
    solution = "````{solution} a\n" + "word " * 900 + "\n````\n"
    assert status.reading(exercise + solution + "word " * 751) == 600
    assert status.reading("```{list-table}\n" + "word " * 900 + "\n```\n") == 600


def test_chapters_are_timed_from_their_first_cell_to_their_last_where_they_were_executed(book):
    found = status.chapters(*book)
    assert found.index.tolist() == ["01_a", "02_b", "checks/01_a"], "no page of tables"
    assert found.loc["01_a"].tolist() == ["The 01_a", 300, 60, "2026-11-22"]
    assert found.loc["02_b", "read"] == 600
    assert math.isnan(found.loc["02_b", "run"])


def test_text_that_a_cell_writes_is_read_but_no_table(book):
    words, rows = "word " * 760, "| word |\n" * 900
    for text, seconds in ((words, 600), (rows, 300)):
        cell = {"cell_type": "code", "metadata": {}, "source": [], "outputs": [{"data": {"text/markdown": [text]}}]}
        (book[1] / "02_b.ipynb").write_text(json.dumps({"cells": [cell]}))
        notebook(book[0], "02_b", 0)
        assert status.chapters(*book).loc["02_b", "read"] == seconds


def test_the_chapters_are_linked_and_summed(book):
    table = status.chapter_table(status.chapters(*book))
    assert table.iloc[0].tolist() == ['<a href="01_a.html">The 01_a</a>', "5 min", "60 s", "2026-11-22"]
    assert column(table, "To run") == ["60 s", "not known here", "60 s", "2 min"]
    assert table.iloc[-1].tolist() == ["All", "20 min", "2 min", "–"]


def test_other_pages_find_every_duration_by_name(book, main):
    found = status.durations(*book)
    assert found.items() >= {"read-page": "5 min", "read-02_b": "10 min", "run-02_b": "not known here"}.items()
    assert (found["run-chapters"], found["train"]) == ("2 min", "2 min")


def test_nothing_recorded_and_nothing_executed_is_said(book, tmp_path):
    found = status.durations(book[0], tmp_path / "no-such-folder")
    assert (found["run-chapters"], found["train"]) == ("not known here", "not known here")
    assert column(status.study_table(), "Runs") == ["0 of 3", "0 of 1"]
    assert column(status.study_table(), "All") == ["not known here", "not known here"]
    assert column(status.study_table(), "Made on") == ["–", "–"]
    assert "Nothing is recorded" in status.citation()
    assert len(status.run_table("main")) == 0


def test_the_environment_is_the_one_that_computes():
    found = dict(status.environment().itertuples(index=False))
    assert verify.machine()["torch"].startswith(found["torch"])  # the metadata of a build for CUDA leave "+cu130" out
    assert found["Computed"].endswith(" UTC")
    assert {"Processor", "Commit", "Python", "condkl"} <= set(found)


def test_a_study_says_what_is_recorded_of_what_is_planned_and_what_the_rest_would_take(main):
    first, second = status.study_table().to_dict("records")
    assert first == {
        "Study": "main", "Runs": "3 of 3", "Steps": "3,000", "A run (median)": "2 min", "All": "5 min",
        "Made on": "A processor (CPU), compiled",
    }  # fmt: skip
    assert (second["A run (median)"], second["All"]) == ("not known here", "about 7 min")  # at the pace of main
    shutil.rmtree(main[0])
    status.runs.cache_clear()
    assert column(status.study_table(), "All")[0] == "about 5 min"


def test_a_broken_record_is_counted_and_stops_nothing(main):
    (main[0] / "metrics.csv").write_text("")
    assert column(status.study_table(), "Runs")[0] == "2 of 3 (1 broken)"
    assert len(status.run_table("main")) == 2


def test_each_run_has_an_anchor_and_says_how_it_differs_from_the_usual_settings(main):
    store.write("later", result(STUDIES["later"].configs[0]))
    short = STUDIES["main"].configs[1].id[:8]
    assert status.run_table("main").iloc[1].tolist() == [
        f'<code id="run-{short}">{short}</code>', "mnist full p(x|u) seed 1", "-96.00", "2 min", "2026-11-22 23:26",
    ]  # fmt: skip
    assert column(status.run_table("later"), "Setting") == ["mnist full p(x|u) seed 0, rate 0.001, constant"]


def test_a_number_is_cited_with_its_run_commit_protocol_machine_and_date(main):
    assert f"run main/{STUDIES['main'].configs[0].id[:8]} (mnist full p(x|u) seed 0)" in status.citation()
    assert status.citation().endswith(
        "trained at commit 01234567 under protocol 1 on A processor (CPU), compiled, 2026-11-22: test ELBO -95.00 nats."
    )


def test_no_verification_and_a_truncated_one_are_said_without_the_machines_path(main, data):
    said, found = status.verification()
    assert said.startswith("None is kept")
    assert found.empty
    file = verify.keep_verification(STUDIES, [])
    file.write_text(file.read_text()[:40])
    said, _ = status.verification()
    assert "is truncated or altered. Delete it, and run `make verify`." in said
    assert str(data) not in said


def test_a_verification_shows_when_what_and_how_each_replay_compared(main):
    means = pd.Series({"elbo": -99.0})
    verify.keep_verification(STUDIES, [Replay(ONE, means, pd.DataFrame(), bits=True)])
    said, found = status.verification()
    shown = dict(found.itertuples(index=False))
    assert said == ""
    assert shown["Records found whole"] == "3 of main, 0 of later"
    assert shown["First epochs trained again"] == (
        f"{ONE.label} ({ONE.id[:8]}), on the recorded kind of machine: bit for bit"
    )


def test_a_verification_is_out_of_date_once_records_came_or_went(main):
    verify.keep_verification(STUDIES, [])
    store.write("later", result(RunConfig("full", skip=True, seed=0, steps=500)))  # no run of that study
    assert status.verification()[0] == ""
    shutil.rmtree(main[0])
    said, found = status.verification()
    assert said.startswith("Out of date: since then records of main were added, removed or made anew.")
    assert len(found)
