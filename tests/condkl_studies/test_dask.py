"""A Dask cluster on the loopback: a scheduler, two worker processes, and the death of one in the midst of a study."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import tiny
from distributed import Client
from tiny import TINY, contents

from condkl_studies import __main__ as cli
from condkl_studies import fit_run, store

CONFIGS = [replace(TINY, steps=20, seed=seed, objective=name) for seed in (30, 31) for name in ("full", "modified")]


@pytest.fixture
def cluster(folder):
    """The address of a scheduler, and its two workers, of one thread each."""
    log, place = (folder / "log").open("w"), folder / "scheduler.json"
    environment = os.environ | {"TINY_PAUSE": "0.1", "DASK_TEMPORARY_DIRECTORY": str(folder)}
    started = []

    def start(module, *arguments):
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *arguments]
        started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        return started[-1]

    try:
        start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(place))
        wait_for(lambda: place.exists() and place.read_text().endswith("}"), started, folder / "log")
        address = json.loads(place.read_text())["address"]
        here = ["--local-directory", str(folder / "dask"), "--preload", tiny.__file__]
        workers = [start("dask_worker", address, "--no-nanny", "--nthreads", "1", *here) for _ in range(2)]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=300)
        yield address, workers
    finally:
        for process in started:
            process.kill()
            process.wait()
        log.close()


def test_workers_of_several_threads_are_refused(monkeypatch, planned, capsys):
    class Wide:
        def __init__(self, address):
            self.address = address

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def nthreads(self):
            return {f"{self.address}/1": 1, f"{self.address}/2": 4}

    monkeypatch.setattr("distributed.Client", Wide)
    planned(tiny=CONFIGS)
    assert cli.main(["run", "tiny", "--scheduler", "tcp://here:1"]) == 1
    assert (
        "expected one thread each, got {'tcp://here:1/2': 4}. Use `dask worker --nthreads 1`" in capsys.readouterr().err
    )


def wait_for(condition, started, log, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert all(process.poll() is None for process in started), log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)


def test_a_worker_is_killed_and_every_run_is_there_once_and_equal_to_a_local_one(cluster, cache, planned, capsys):
    address, workers = cluster
    killed_at = []

    def kill_one_when_both_work():
        end = time.monotonic() + 300
        while time.monotonic() < end:
            steps = {config: tiny.step(cache, config) for config in CONFIGS}
            busy = {config: step for config, step in steps.items() if 0 < step < config.steps}
            if len(busy) == 2:
                workers[0].kill()
                killed_at.append(busy)
                return
            time.sleep(0.02)

    planned(tiny=CONFIGS)
    killer = threading.Thread(target=kill_one_when_both_work)
    killer.start()
    status = cli.main(["run", "tiny", "--scheduler", address, "--eager"])
    killer.join()
    assert killed_at
    assert workers[0].wait(60) == -signal.SIGKILL
    assert workers[1].poll() is None
    captured = capsys.readouterr()
    assert (status, captured.out) == (0, "tiny: 4 runs recorded now, 0 failed\n")
    assert sorted(path.name for path in (store.runs_folder() / "tiny").iterdir()) == sorted(c.id for c in CONFIGS)
    for config in CONFIGS:
        local = contents(store.write("local", fit_run(config)))
        spread = contents(store.record_folder("tiny", config))
        for name in ("config.json", "metrics.csv", "samples.npz"):
            assert spread[name] == local[name]
