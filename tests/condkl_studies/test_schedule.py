"""Runs side by side: results in order, errors that surface, a study that outlives a failure, and what people see."""

import multiprocessing
import os
import re
import shutil
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import pytest
import tiny
from tiny import DIVERGING, STUDY, TINY, same

from condkl_studies import engine, run_all, schedule, store
from condkl_studies.cache import Cache, RunBusyError
from condkl_studies.schedule import WorkersError, dask_workers, local_processes, run_study


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Waiting(Executor):
    """No run ever starts; the first may have ended with an error."""

    def __init__(self, error=None):
        self.futures, self.error = [], error

    def submit(self, fn, /, *args, **kwargs):
        self.futures.append(Future())
        if self.error and len(self.futures) == 1:
            self.futures[0].set_exception(self.error)
        return self.futures[-1]


def test_results_come_in_the_order_of_the_configs(thread, results):
    for one, other in zip(run_all(STUDY[::-1], thread, progress=False), results[::-1], strict=True):
        assert same(one, other)


def test_other_processes_give_the_same_numbers(results, processes):
    with ProcessPoolExecutor(1, mp_context=processes, initializer=tiny.plan) as executor:
        for one, other in zip(run_all(STUDY[:2], executor, progress=False), results[:2], strict=True):
            assert same(one, other)


def test_no_configs_give_no_results():
    assert run_all([], Waiting(), progress=False) == []


def test_an_error_surfaces_and_what_waits_is_cancelled():
    executor = Waiting(RuntimeError("it broke"))
    with pytest.raises(RuntimeError, match="it broke"):
        run_all(STUDY[:3], executor, progress=False)
    assert [future.cancelled() for future in executor.futures] == [False, True, True]


def test_a_study_trains_and_records_what_is_missing_and_nothing_else(thread, results, cache):
    store.write("tiny", results[2])
    outcome = run_study("tiny", STUDY, thread, cache, progress=False)
    assert outcome.recorded == [config for config in STUDY if config != STUDY[2]]
    assert outcome.failed == []
    for record, result in zip(store.read_study("tiny", STUDY), results, strict=True):
        assert same(record, result)
    assert run_study("tiny", STUDY, None, cache, progress=False).recorded == []
    assert list(cache.rglob("*.safetensors")) == [], "a recorded run needs no state"


def test_a_deleted_record_is_made_again_with_the_same_numbers(recorded, results, thread, cache):
    shutil.rmtree(recorded / TINY.id)
    assert run_study("tiny", STUDY, thread, cache, progress=False).recorded == [TINY]
    assert same(store.read("tiny", TINY), results[0])


def test_a_study_goes_on_past_a_run_that_diverges(thread, results, cache):
    outcome = run_study("tiny", [DIVERGING, *STUDY[:2]], thread, cache, progress=False)
    assert outcome.recorded == STUDY[:2]
    (message,) = outcome.failed
    assert message.startswith(DIVERGING.label)
    for part in ("step ", "the term ", DIVERGING.canonical()):
        assert part in message
    assert not store.record_folder("tiny", DIVERGING).exists()
    assert same(store.read("tiny", STUDY[1]), results[1])


@pytest.mark.parametrize("error", [ValueError("it broke"), RunBusyError("it is busy")])
def test_any_other_error_ends_the_study_and_cancels_what_waits(error, cache):
    executor = Waiting(error)
    with pytest.raises(type(error), match=str(error)):
        run_study("tiny", STUDY[:3], executor, cache, progress=False)
    assert [future.cancelled() for future in executor.futures] == [False, True, True]


def test_the_bar_shows_steps_their_rate_the_time_that_remains_runs_and_elbo(thread, cache, capsys, monkeypatch):
    monkeypatch.setattr(schedule, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(engine, "windows", tiny.paused(engine.windows, 0.05))
    configs = [replace(TINY, steps=20), replace(TINY, steps=20, seed=1)]
    half = engine.State.start(engine.initial_model(configs[0]))
    cache_0 = Cache(cache / configs[0].id)
    cache_0.folder.mkdir(parents=True)
    for _ in engine.trained(configs[0], half):
        cache_0.save(half, 0.0)
        if half.step == 10:
            break
    run_study("tiny", configs, thread, cache)
    bars = capsys.readouterr().err.replace("\r", "\n")
    assert re.search(r"^tiny: +25%.* 10.0/40.0 ", bars, re.MULTILINE), "it goes on from the states that are there"
    assert re.search(r"\d.0/40.0 \[\d\d:\d\d<\d\d:\d\d, +[\d.]+step/s, 1/2 runs, ELBO -\d+\.\d\d\]", bars)
    assert re.search(r"100%.* 40.0/40.0 .*step/s, 2/2 runs", bars)


@pytest.fixture
def bystander():
    """A child of this process that is none of the pool's."""
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    process.start()
    yield process
    process.kill()
    process.join()


def test_a_pool_works_in_so_many_processes_and_ends_them_when_interrupted(bystander):
    with pytest.raises(KeyboardInterrupt), local_processes(2) as pool:  # noqa: PT012
        pids = {future.result() for future in [pool.submit(os.getpid) for _ in range(2)]}
        busy = [pool.submit(time.sleep, 120) for _ in range(2)]
        while not all(future.running() for future in busy):
            time.sleep(0.01)
        assert len(multiprocessing.active_children()) == 2 + 1
        start = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - start < 60
    assert os.getpid() not in pids
    assert all(future.done() for future in busy)
    assert multiprocessing.active_children() == [bystander], "only the pool's processes are to end"


def test_a_worker_that_dies_ends_the_study_and_its_run_goes_on_later(cache, results, thread):
    with pytest.raises(BrokenProcessPool), local_processes(1) as pool:
        run_study("tiny", [TINY], pool, cache, progress=False, train=tiny.killed_by_itself)
    assert tiny.step(cache, TINY) == 2
    run_study("tiny", [TINY], thread, cache, progress=False)
    assert same(store.read("tiny", TINY), results[0])


def test_without_dask_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WorkersError, match=r"distributed: not installed.*cluster"), dask_workers("tcp://x:1"):
        pass
