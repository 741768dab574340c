"""A Dask cluster on the loopback: a scheduler, two worker processes, and the death of one in the midst of a study."""

import asyncio
import os
import signal
import threading
import time
from dataclasses import replace

import pytest
import tiny
from dask.config import set as set_config
from distributed import Client, LocalCluster, Worker
from tiny import TINY, contents

from condkl_studies import __main__ as cli
from condkl_studies import engine, fit_run, store

CONFIGS = [replace(TINY, steps=20, seed=seed, objective=name) for seed in (30, 31) for name in ("full", "modified")]


def work(address, folder):
    """What `dask worker --nthreads 1` does: take the tasks of that scheduler one at a time."""
    engine.windows = tiny.paused(engine.windows, 0.05)
    set_config({"temporary-directory": str(folder)})
    os.environ |= {"CONDKL_DATA": str(folder / "data"), "CONDKL_CACHE": str(folder / "cache")}

    async def worker():
        async with Worker(address, nthreads=1, local_directory=str(folder / "dask"), dashboard=False) as one:
            await one.finished()

    asyncio.run(worker())


@pytest.fixture
def cluster(folder, processes):
    """The address of a scheduler, and its two workers, each a process of one thread."""
    with LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1", scheduler_port=0) as scheduler:
        address, workers = scheduler.scheduler_address, []
        try:
            for _ in range(2):
                workers.append(processes.Process(target=work, args=(address, folder)))
                workers[-1].start()
            with Client(address) as client:
                client.wait_for_workers(2, timeout=300)
            yield address, workers
        finally:
            for process in workers:
                process.kill()
                process.join()


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
    workers[0].join(60)
    assert workers[0].exitcode == -signal.SIGKILL
    assert workers[1].is_alive()
    captured = capsys.readouterr()
    assert (status, captured.out) == (0, "tiny: 4 runs recorded now, 0 failed\n")
    assert sorted(path.name for path in (store.runs_folder() / "tiny").iterdir()) == sorted(c.id for c in CONFIGS)
    for config in CONFIGS:
        local = contents(store.write("local", fit_run(config)))
        spread = contents(store.record_folder("tiny", config))
        for name in ("config.json", "metrics.csv", "samples.npz"):
            assert spread[name] == local[name]
