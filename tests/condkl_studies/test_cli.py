"""The command line, in this process and as people use it: started, interrupted, and started again."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import psutil
import pytest
import tiny
import tiny_studies
from tiny import DIVERGING, STUDY, TINY, TWO, same

from condkl_studies import __main__ as cli
from condkl_studies import fit_run, store, verify
from condkl_studies.cache import Cache
from condkl_studies.config import PROTOCOL
from condkl_studies.engine import initial_model
from condkl_studies.schedule import Outcome
from condkl_studies.state import State

SPARE = [replace(TINY, seed=seed) for seed in (20, 21)]


@pytest.fixture
def command(monkeypatch, planned, capsys):
    """Run the command line on two small studies, in a thread of this process; gives its status, output and errors."""

    @contextmanager
    def thread(workers):
        assert workers >= 1
        with ThreadPoolExecutor(1) as executor:  # runs in several threads of one process do not repeat
            yield executor

    planned(tiny=STUDY, spare=SPARE)
    monkeypatch.setattr(cli, "local_processes", thread)

    def run_it(*arguments):
        capsys.readouterr()
        status = cli.main(arguments)
        return status, *capsys.readouterr()

    return run_it


def test_list_names_each_study_with_its_runs_and_steps(command):
    status, out, _ = command("list")
    assert (status, out.split()) == (0, ["tiny", "6", "runs,", "36", "steps", "spare", "2", "runs,", "12", "steps"])


def test_run_status_verify_and_export_from_nothing_to_the_table(command, results, folder):
    assert command("status")[1].split("\n")[1].split() == ["tiny", "0/6", "0", "0.0", "-", "-"]
    assert command("export", "tiny")[0] == 1
    status, out, err = command("run", "tiny", "--workers", "2", "--eager")
    assert (status, out) == (0, "tiny: 6 runs recorded now, 0 failed\n")
    assert "6/6 runs" in err
    assert command("run", "tiny", "--eager")[:2] == (0, "tiny: 0 runs recorded now, 0 failed\n")
    for record, result in zip(store.read_study("tiny", STUDY), results, strict=True):
        assert same(record, result)

    lines = command("status")[1].split("\n")
    assert lines[1].split()[:3] == ["tiny", "6/6", "0"]
    assert lines[1].split()[-1] == str(PROTOCOL)
    assert results[0].provenance["machine"]["processor"] in lines[1]
    assert lines[2].split()[:3] == ["spare", "0/2", "0"]

    status, out, err = command("verify", "--replays", "2")
    assert status == 1  # the other study is missing
    assert err.count("no record of the run") == 2
    assert "6 records are whole, 2 problems" in out
    assert out.count("ok: tiny ") == 2
    assert verify.last_verification() is None
    assert command("run", "spare", "--eager")[0] == 0
    status, out, err = command("verify")
    assert (status, err, out.count("bit for bit")) == (0, "", 3)
    assert f"kept in {folder / 'data' / 'runs' / 'verified.json'}" in out
    assert verify.last_verification().records == {"tiny": 6, "spare": 2}
    assert len(verify.last_verification().replays) == 3
    assert command("verify", "--replays", "1")[0] == 0  # the kept file is no problem, and is replaced
    assert len(verify.last_verification().replays) == 1
    assert sum(f"({config.id[:8]}) on the recorded kind of machine" in out for config in [*STUDY, *SPARE]) == 3

    table = folder / "runs.csv"
    assert command("export", "--output", str(table))[:2] == (0, f"{table}: 8 runs\n")
    exported = pd.read_csv(table)
    assert exported.groupby("study")["run"].nunique().to_dict() == {"tiny": 6, "spare": 2}
    one = exported[exported["run"] == STUDY[1].id]
    assert set(one["objective"]) == {"modified"}
    assert one[list(results[1].metrics)].reset_index(drop=True).equals(results[1].metrics)
    assert command("export", "spare", "--output", str(table))[1].endswith(": 2 runs\n")


def test_a_table_that_cannot_be_written_and_a_count_below_zero_are_refused(command, recorded, tmp_path, capsys):
    missing = tmp_path / "missing" / "runs.csv"
    status, _, err = command("export", "--output", str(missing))
    assert status == 1
    assert err.startswith(f"{missing}: cannot be written (")
    assert "None" not in err
    with pytest.raises(SystemExit):
        command("verify", "--replays", "-1")
    assert "expected a whole number of at least 0, got '-1'" in capsys.readouterr().err


def test_status_counts_runs_in_progress_and_names_the_protocols_of_the_records(command, cache, results):
    (cache / SPARE[0].id).mkdir(parents=True)
    Cache(cache / SPARE[0].id).save(State.start(initial_model(SPARE[0])), 0.0)
    store.write("tiny", results[0])
    lines = command("status")[1].split("\n")
    assert lines[1].split()[:3] + lines[1].split()[-1:] == ["tiny", "1/6", "0", str(PROTOCOL)]
    assert lines[2].split()[:3] == ["spare", "0/2", "1"]


def test_a_run_that_diverges_is_reported_with_status_1_and_the_others_are_recorded(command, planned):
    planned(tiny=[DIVERGING, TINY])
    status, out, err = command("run", "tiny", "--eager")
    assert (status, out) == (1, "tiny: 1 runs recorded now, 1 failed\n")
    assert DIVERGING.canonical() in err
    assert "the term" in err


def test_a_broken_record_stops_run_status_and_export_and_fails_verify(command, recorded):
    (recorded / TINY.id / "metrics.csv").write_text("step,elbo\n1,0\n")
    for arguments in (["run", "tiny"], ["status"], ["export", "tiny"]):
        status, _, err = command(*arguments)
        assert status == 1
        assert f"{recorded / TINY.id / 'metrics.csv'}: truncated or altered since it was written" in err
    status, out, err = command("verify", "--replays", "0")
    assert status == 1
    assert str(recorded / TINY.id / "metrics.csv") in err
    assert "5 records are whole, 3 problems" in out


def test_a_replay_that_fails_fails_verify(command, recorded, results, planned, monkeypatch):
    planned(tiny=STUDY)
    monkeypatch.setattr("condkl_studies.replay.first_window", lambda *_: results[1].metrics.head(1))
    status, out, _ = command("verify", "--replays", "1")
    assert status == 1
    assert "FAILED: tiny" in out
    assert verify.last_verification() is None


def test_a_verification_that_cannot_be_kept_is_a_success_that_says_so(command, recorded, planned, monkeypatch):
    def refused(*args):
        raise PermissionError(13, "Permission denied")

    planned(tiny=STUDY)
    monkeypatch.setattr("condkl_studies.verify.write_json", refused)
    status, _, err = command("verify", "--replays", "0")
    assert (status, verify.last_verification()) == (0, None)
    assert "verified.json: cannot be written (Permission denied), so this is not kept" in err


def test_a_run_that_another_process_trains_is_refused(command, cache):
    with Cache(cache / TINY.id).held():
        status, _, err = command("run", "tiny", "--eager")
    assert status == 1
    assert f"{TINY.id}: another process is training this run" in err


def test_a_worker_that_dies_is_reported_with_the_command_that_goes_on(command, monkeypatch):
    def broken(*args):
        raise cli.BrokenExecutor

    monkeypatch.setattr(cli, "run_study", broken)
    status, _, err = command("run", "tiny")
    assert status == 1
    assert "a worker died" in err
    assert "make study NAME=tiny" in err


def test_a_compiler_is_used_unless_eager_is_asked_for(command, monkeypatch):
    asked = []
    monkeypatch.setattr(cli, "compiler_found", lambda: True)
    monkeypatch.setattr(cli, "run_study", lambda *args: asked.append(args[-1]) or Outcome())
    command("run", "tiny")
    command("run", "tiny", "--eager")
    assert asked == [True, False]


@pytest.mark.parametrize("how", ["a broken compiler", "--eager"])
def test_without_a_working_compiler_runs_are_eager_and_compiled_records_are_replayed_by_their_spread(
    how, command, results, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    if how == "a broken compiler":
        monkeypatch.setenv("CXX", "/bin/false")
    eager = ["--eager"] if how == "--eager" else []
    for result in results:
        store.write("tiny", replace(result, provenance=result.provenance | {"compiled": True}))
    assert command("run", "spare", *eager)[0] == 0
    assert not store.read("spare", SPARE[0]).provenance["compiled"]
    status, out, err = command("verify", "--replays", "8", *eager)
    assert (status, err) == (0, "")
    assert out.count("another protocol or kind of machine: inside the 99.9% prediction interval of") == len(STUDY)
    assert out.count("bit for bit") == len(SPARE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "required: COMMAND"),
        (("run",), "required: name"),
        (("run", "nothing"), "invalid choice: 'nothing'"),
        (("run", "tiny", "--workers", "0"), "--workers: expected a whole number above 0, got '0'"),
        (("run", "tiny", "--workers", "two"), "--workers: expected a whole number above 0, got 'two'"),
    ],
)
def test_a_wrong_command_line_is_refused_with_a_reason(arguments, message, command, capsys):
    with pytest.raises(SystemExit) as caught:
        command(*arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["list", "run", "status", "verify", "export"]),
        (["run", "--help"], ["--workers", "--scheduler", "tcp://host:port", "--eager", "goes on where it was stopped"]),
        (["verify", "--help"], ["--replays", "--seed", "--eager"]),
        (["export", "--help"], ["--output", "runs.csv"]),
    ],
)
def test_help_names_what_there_is(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    assert [word for word in words if word not in out] == []


@pytest.fixture
def started(folder, workers):
    """The command line as a process of its own, slow enough to be interrupted, with all workers at their runs."""
    command = [sys.executable, tiny_studies.__file__, "run", "tiny", "--workers", str(workers), "--eager"]
    environment = os.environ | {"TINY_PAUSE": "2"}
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for(lambda: all(tiny.step(folder / "cache", config) > 0 for config in TWO[:workers]), 300, process, log)
        yield process, log
    finally:
        for pid in alive(process):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def alive(process):
    """The processes of its group that live: itself, its workers, and what they started."""
    return [
        one.pid
        for one in psutil.process_iter(["status"])
        if pgid(one.pid) == process.pid and one.info["status"] not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    ]


def pgid(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def wait_for(condition, seconds, process=None, log=None):
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, f"it ended: {log.read_text()}"
        assert time.monotonic() < end, f"nothing happened in {seconds} s"
        time.sleep(0.02)


# As a terminal does it, to all; as a supervisor does it, to the first process alone; and without any warning. Every
# process takes seconds to start; that two workers end with their pool, `test_schedule` shows of the pool alone.
def to_all(pid):
    os.killpg(pid, signal.SIGINT)


@pytest.mark.parametrize(
    ("workers", "send", "status"),
    [
        pytest.param(1, to_all, 130, id="ctrl-c"),
        pytest.param(2, to_all, 130, id="ctrl-c, two workers", marks=pytest.mark.slow),
        pytest.param(2, lambda pid: os.kill(pid, signal.SIGINT), 130, id="sigint", marks=pytest.mark.slow),
        pytest.param(
            2, lambda pid: os.kill(pid, signal.SIGKILL), -signal.SIGKILL, id="sigkill", marks=pytest.mark.slow
        ),
    ],
)
def test_interrupted_it_ends_at_once_with_its_workers_and_goes_on_later(
    workers, send, status, started, command, cache, planned
):
    process, log = started
    send(process.pid)
    assert process.wait(30) == status
    wait_for(lambda: alive(process) == [], 30)
    steps = [tiny.step(cache, config) for config in TWO]
    assert all(0 < step < config.steps for step, config in zip(steps[:workers], TWO, strict=False))
    assert steps[workers:] == [0] * (2 - workers)
    if status == 130:
        assert "stopped; `make study NAME=tiny` goes on from here" in log.read_text()
        assert "Traceback" not in log.read_text()
    assert not store.runs_folder().exists()
    planned(tiny=TWO)
    assert command("run", "tiny", "--eager")[:2] == (0, "tiny: 2 runs recorded now, 0 failed\n")
    for config in TWO:
        assert same(store.read("tiny", config), fit_run(config))
