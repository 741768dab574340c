"""Runs killed with SIGKILL and resumed: record and weights to the last bit those of a run that nobody disturbed."""

import random
import signal
import time
from dataclasses import replace

import pytest
import tiny
from tiny import COUNTING, LONG, LONG_COUNTING, TINY, left, same, step

from condkl_studies import engine, fit_run

SLOW = [
    pytest.param(kills, share, long, marks=pytest.mark.slow)
    for kills, share, long in ((20, 1, LONG), (20, 1, LONG_COUNTING), (2, 0.5, LONG_COUNTING))
]


@pytest.mark.parametrize(("kills", "share", "long"), [(2, 0.5, LONG), *SLOW])
def test_killed_at_random_moments_and_resumed_it_is_the_same_run(kills, share, long, processes, cache, tmp_path):
    long, moments = replace(long, steps=round(share * long.steps)), random.Random(kills)
    for _ in range(kills):
        before, process = step(cache, long), processes.Process(target=tiny.train, args=(long, cache))
        process.start()
        wait_for(lambda before=before: step(cache, long) > before, process)
        time.sleep(moments.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was not killed in time: make LONG longer"
        assert before < step(cache, long) < long.steps
    undisturbed = tmp_path / "undisturbed"
    assert same(fit_run(long, cache), fit_run(long, undisturbed))
    assert left(cache, long) == left(undisturbed, long)


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), f"the process ended, with exit code {process.exitcode}"
        assert time.monotonic() < end, f"nothing happened in {seconds} s"
        time.sleep(0.001)


# Each save writes the state beside its place, and moves it there.
@pytest.mark.parametrize(
    ("death", "kept"),
    [
        (("write_bytes", 1, True), 0),
        (("replace", 1), 0),
        (("write_bytes", 2, True), 2),
        (("replace", 2), 2),
        (("write_bytes", 3, True), 4),
        (("replace", 3), 4),
    ],
    ids=str,
)
def test_killed_while_it_saves_it_goes_on_from_the_last_whole_state(death, kept, results, processes, cache):
    process = processes.Process(target=tiny.train, args=(TINY, cache, *death))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert step(cache, TINY) == kept
    assert same(fit_run(TINY, cache), results[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, objective="lambda_warm_up", steps=20),
        replace(COUNTING, objective="lambda_warm_up", until=0.5, estimator="learned", steps=20),
    ],
    ids=lambda config: config.model,
)
def test_a_compiled_run_stopped_and_resumed_is_the_same_run(config, cache, monkeypatch):
    whole, windows = fit_run(config, cache / "whole", compiled=True), engine.windows

    def stopping(*args):
        for state in windows(*args):
            yield state
            if state.step == 6:
                raise KeyboardInterrupt

    monkeypatch.setattr(engine, "windows", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit_run(config, cache / "parts", compiled=True)
    monkeypatch.setattr(engine, "windows", windows)
    assert step(cache / "parts", config) == 6
    assert same(fit_run(config, cache / "parts", compiled=True), whole)
    assert left(cache / "parts", config) == left(cache / "whole", config)
