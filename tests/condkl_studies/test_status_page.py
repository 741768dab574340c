"""The status pages: what they say of notebooks and records, also of missing and broken ones, which stop no build."""

import io
import json
import re
import shutil
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace
from tiny import STUDY, TINY, TWO

from condkl_studies import store, verify

STUDIES = {"main": STUDY, "later": TWO}
BEGAN, ENDED = "2026-11-22T23:26:04.572214Z", "2026-11-22T23:27:04.572214Z"


def unbroken(*texts):
    """Return texts in which a number does not part from its unit, nor a date's parts from each other."""
    return [re.sub(r"(?<=\d) (?=\w)|(?<=Nov) ", "\xa0", text) for text in texts]


@pytest.fixture
def page(extension, monkeypatch):
    facts, module = (extension(name) for name in ("status_facts", "status_page"))
    for one in (facts, module):
        monkeypatch.setattr(one, "STUDIES", STUDIES)
    facts.study.cache_clear()
    yield module
    facts.study.cache_clear()


@pytest.fixture
def facts(page, extension):
    return extension("status_facts")


@pytest.fixture
def main(results):
    """The study `main`, recorded."""
    return [store.write("main", result) for result in results]


def notebook(folder, name, words, *stamps):
    """A notebook with so many words, and a cell of code for each pair of times."""
    cells = [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# Title\n", "word " * (words - 2)]}]
    for i, (began, ended) in enumerate(stamps):
        times = {"iopub.execute_input": began, "shell.execute_reply": ended} if began else {}
        times |= {"iopub.status.busy": "2000-01-01T00:00:00Z"} if began else {}
        metadata = {"execution": times} if began else {}
        cells.append({"cell_type": "code", "id": f"c{i}", "metadata": metadata, "source": [], "outputs": [],
                      "execution_count": None})  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = folder / f"{name}.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
    return path


def rows(found):
    """The cells of the table among the nodes, a list for each row, the header first."""
    (table,) = [node for node in found if node.tagname == "table"]
    return [[entry.astext() for entry in row.children] for row in table.findall() if row.tagname == "row"]


def part(page, name, **env):
    return page.PARTS[name](SimpleNamespace(docname="status", **env))


@pytest.fixture
def build(page, tmp_path):
    """Build a site of Markdown pages and the notebooks that are there; gives its warnings and the text of its pages."""
    source = tmp_path / "source"
    source.mkdir()

    def run(**pages):
        for name, text in pages.items():
            (source / f"{name}.md").write_text(f"# {name}\n\n{text}\n")
        names = "\n".join(sorted(path.stem for path in source.iterdir() if path.stem != "index"))
        (source / "index.md").write_text(f"# Start\n\n```{{toctree}}\n{names}\n```\n")
        warnings = io.StringIO()
        settings = {"extensions": ["myst_nb", "ledger_page", "status_page"], "nb_execution_mode": "off"}
        arguments = (source, None, tmp_path / "out", tmp_path / "trees", "html", settings)
        with docutils_namespace():
            Sphinx(*arguments, status=None, warning=warnings, freshenv=True).build()
        return warnings.getvalue(), {name: (tmp_path / "out" / f"{name}.html").read_text() for name in pages}

    run.source = source
    return run


# --- Chapters -----------------------------------------------------------------------------------------------------


def test_a_notebooks_time_runs_from_its_first_cell_to_its_last(facts, tmp_path):
    path = notebook(tmp_path, "a", 700, (BEGAN, "2026-11-22T23:26:30Z"), (None, None), ("2026-11-22T23:26:59Z", ENDED))
    found = facts.chapter(path)
    assert (found.seconds, found.began) == (60.0, datetime.fromisoformat(BEGAN))


def test_a_notebook_without_times_has_none(facts, tmp_path):
    found = facts.chapter(notebook(tmp_path, "a", 10, (None, None)))
    assert (found.seconds, found.began) == (None, None)
    assert facts.duration(found.seconds) == "not known here"


def test_reading_takes_a_minute_for_150_words_rounded_up_to_five_without_exercises(facts):
    assert [facts.minutes("word " * n) for n in (1, 750, 751)] == [5, 5, 10]
    exercise = "```{exercise} Title\n:label: a\n" + "word " * 900 + "\n```\n"
    solution = "````{solution} a\n" + "word " * 900 + "\n````\n"
    assert facts.minutes(exercise + solution + "word " * 751) == 10
    assert facts.minutes("```{list-table}\n" + "word " * 900 + "\n```\n") == 10


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (5969.0, "99 min"), (5971.0, "1.7 h"), (63000.0, "17.5 h")],
)
def test_a_duration_has_the_unit_that_people_would_use_and_does_not_break(facts, seconds, text):
    assert facts.duration(seconds) == unbroken(text)[0]


def test_the_chapters_are_linked_and_summed(build):
    notebook(build.source, "01_a", 700, (BEGAN, ENDED))
    notebook(build.source, "02_b", 800, ("2026-11-22T23:00:00Z", "2026-11-22T23:03:00Z"))
    notebook(build.source, "03_c", 10, (None, None))
    warnings, pages = build(status="```{status} chapters\n```")
    assert warnings == ""
    assert '<a class="reference internal" href="01_a.html"><span class="doc">Title</span></a>' in pages["status"]
    cells = re.findall(r"<td><p>(.*?)</p></td>", pages["status"])
    assert cells[1:4] == unbroken("5 min", "60 s", "22 Nov 2026")
    assert cells[9:12] == unbroken("5 min", "not known here", "–")
    assert cells[12:] == unbroken("All", "20 min", "4 min", "–")
    assert "<th" in pages["status"]
    assert not re.search(r"<th[^>]*>(<p>)?\s*(</p>)?</th>", pages["status"])


# --- The environment ----------------------------------------------------------------------------------------------


def test_the_environment_is_the_one_that_builds(page, results):
    found = dict(rows(part(page, "environment")))
    recorded = results[0].provenance
    assert found["Processor"] == recorded["machine"]["processor"]
    assert found["Python"] == recorded["python"]
    assert found["torch"] == recorded["packages"]["torch"]
    assert found["Site built"].endswith(" UTC")


def test_a_package_that_is_not_installed_is_said_to_be(page, monkeypatch):
    monkeypatch.setattr(page, "PACKAGES", ("no-such-package",))
    assert dict(rows(part(page, "environment")))["no-such-package"] == "not installed"


# --- The studies --------------------------------------------------------------------------------------------------


def test_a_study_says_what_is_recorded_of_what_is_planned(page, main):
    header, first, second = rows(part(page, "studies"))
    assert header == ["Study", "Runs", "Steps", "Hours", "Made on"]
    assert first[:3] == ["main", "6 of 6", "36"]
    assert first[4].endswith("(CPU), not compiled")
    assert second == ["later", "0 of 2", "0", "0.0", "–"]


def test_a_broken_record_is_counted_and_stops_nothing(page, main):
    (main[0] / "metrics.csv").write_text("")
    assert rows(part(page, "studies"))[1][1] == "5 of 6 (1 broken)"


def test_training_is_extrapolated_where_runs_are_missing(page, facts, main, monkeypatch):
    each = facts.study("main").each
    monkeypatch.setattr(facts.Study, "each", property(lambda self: [3600.0] * len(self.records)))
    assert len(each) == 6
    _, first, second = rows(part(page, "training"))
    assert first == unbroken("main", "6", "60 min", "6.0 h")
    assert second == unbroken("later", "2", "not known here", "about 13.3 h")  # 80 steps at 6 hours for 36
    shutil.rmtree(main[0])
    facts.study.cache_clear()
    assert rows(part(page, "training"))[1] == unbroken("main", "6", "60 min", "about 6.0 h")


def test_without_any_record_the_tables_and_the_citation_say_so(page):
    assert rows(part(page, "studies"))[1] == ["main", "0 of 6", "0", "0.0", "–"]
    assert rows(part(page, "training"))[1] == ["main", "6", "not known here", "not known here"]
    assert "Nothing is recorded" in part(page, "citation")[0].astext()


def test_a_number_is_cited_with_its_run_commit_machine_and_date(page, main, results):
    text = part(page, "citation")[0].astext()
    assert f"run main/{TINY.id[:8]} ({TINY.label})" in text
    assert f"test ELBO −{abs(results[0].samples['test'][0]):.2f} nats." in text
    assert results[0].provenance["machine"]["processor"] in text


# --- The last verification ----------------------------------------------------------------------------------------


def test_no_verification_is_said(page):
    (said,) = part(page, "verification")
    assert said.astext() == "No verification is kept with the records of this copy. For one, run make verify."


def test_a_truncated_verification_is_said_without_the_machines_path(page, main, folder):
    file = verify.keep_verification(STUDIES, [])
    file.write_text(file.read_text()[:40])
    (said,) = part(page, "verification")
    assert "data/runs/verified.json, is truncated or altered. Delete it, and run make verify." in said.astext()
    assert str(folder) not in said.astext()


def test_a_verification_shows_when_what_and_how_each_replay_compared(page, main):
    verify.keep_verification(STUDIES, [verify.Replay(TINY, True, True, "bit for bit")])
    found = dict(rows(part(page, "verification")))
    assert str(datetime.now(UTC).year) in found["Passed"]
    assert found["Records found whole"] == "6 of main, 0 of later"
    assert found["First epochs trained again"] == (
        f"{TINY.label} ({TINY.id[:8]}), on the recorded kind of machine: bit for bit"
    )
    verify.keep_verification(STUDIES, [])
    assert dict(rows(part(page, "verification")))["First epochs trained again"] == "none"


def test_a_verification_is_out_of_date_once_runs_are_added(page, main, results):
    verify.keep_verification(STUDIES, [])
    assert len(part(page, "verification")) == 1
    store.write("later", results[0])  # not a run of that study, so nothing changes
    assert len(part(page, "verification")) == 1
    shutil.rmtree(main[0])
    said, _ = part(page, "verification")
    assert said.astext() == (
        "Out of date: since then records of main were added, removed or made anew. Run make verify."
    )


# --- In a build ---------------------------------------------------------------------------------------------------


def test_the_role_gives_every_kind_of_time(build, main, folder):
    bench = folder / "data" / "bench"
    bench.mkdir()
    (bench / "a.json").write_text(json.dumps({"laps": [{"seconds": 30.0}, {"seconds": 42.0}]}))
    notebook(build.source, "01_a", 700, (BEGAN, ENDED))
    kinds = ("read 01_a", "read index", "run 01_a", "run chapters", "train main", "window main", "train later", "bench")
    warnings, pages = build(page="\n\n".join(f"x {{time}}`{kind}`" for kind in kinds))
    found = re.findall(r"<p>x (.*?)</p>", pages["page"])
    assert warnings == ""
    assert found[:4] == unbroken("5 min", "5 min", "60 s", "60 s")
    assert all(re.fullmatch(r"\d+\xa0s", text) for text in found[4:6])
    assert found[6:] == unbroken("not known here", "72 s")


def test_with_nothing_recorded_all_parts_are_built_without_a_warning(build, page):
    parts = "\n".join(f"```{{status}} {name}\n```\n" for name in page.PARTS)
    times = "{time}`bench` {time}`train main` {time}`run chapters`"
    warnings, pages = build(page=f"{parts}\n{times}")
    assert warnings == ""
    assert pages["page"].count("not known here") >= 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```{status} nothing\n```", "status: expected one of chapters, environment, "),
        ("{time}`run 99_nothing`", "time: expected a kind (read, run, train, window, bench) and the name of a page"),
        ("{time}`read nothing`", "got read nothing"),
        ("{time}`train nothing`", "got train nothing"),
        ("{time}`walk 01_a`", "got walk 01_a"),
    ],
)
def test_a_wrong_name_is_a_warning_of_the_build(build, text, message):
    warnings, _ = build(page=text)
    assert message in warnings
