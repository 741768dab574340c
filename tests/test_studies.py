"""Runs on the real digits with a tiny model: the same numbers in any executor, and no error lost."""

import math
import multiprocessing
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from condkl import studies
from condkl.studies import RunConfig, run, run_all

TINY = RunConfig("full", skip=False, seed=0, steps=5, latents=(2, 3), hidden=(8, 8), batch_size=20, every=2)
TWO = [TINY, replace(TINY, objective="modified", skip=True, seed=1)]


@pytest.fixture(scope="module")
def in_a_thread():
    with ThreadPoolExecutor(1) as executor:
        return run_all(TWO, executor, progress=False)


def test_results_come_in_the_order_of_the_configs(in_a_thread):
    assert [result.config for result in in_a_thread] == TWO
    for result in in_a_thread:
        assert result.history["step"].tolist() == [1, 2, 4, 5]
        assert list(result.validation) == ["elbo", "R", "A", "C"]
        assert all(math.isfinite(value) for value in result.validation.values())


def test_another_process_gives_the_same_numbers(in_a_thread):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        results = run_all(TWO, executor, progress=False)
    for one, other in zip(in_a_thread, results, strict=True):
        assert one.config == other.config
        assert one.history.equals(other.history)
        assert one.validation == other.validation


def test_a_run_repeats_itself_and_leaves_the_global_randomness_alone(in_a_thread):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    again = run(TINY)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert again.history.equals(in_a_thread[0].history)
    assert again.validation == in_a_thread[0].validation


def test_runs_with_one_seed_start_from_the_same_weights_whatever_they_follow(in_a_thread):
    first = run(replace(TINY, objective="modified", steps=1)).history.iloc[0]
    assert first.equals(in_a_thread[0].history.iloc[0])


def test_an_unknown_objective_is_refused_before_the_data_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"objective: expected one of full, modified.*got 'magic'"):
        run(replace(TINY, objective="magic"))


def test_an_error_in_one_run_surfaces():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="latents: expected a whole number"):
        run_all([replace(TINY, latents=(0,))], executor, progress=False)


class Stuck(Executor):
    """The first run fails, and the others never start."""

    def __init__(self):
        self.futures = []

    def submit(self, fn, /, *args, **kwargs):
        self.futures.append(Future())
        assert fn is studies.run
        if len(self.futures) == 1:
            self.futures[0].set_exception(RuntimeError("it broke"))
        return self.futures[-1]


def test_runs_that_wait_are_cancelled_after_an_error():
    executor = Stuck()
    with pytest.raises(RuntimeError, match="it broke"):
        run_all([TINY] * 3, executor, progress=False)
    assert [future.cancelled() for future in executor.futures] == [False, True, True]


def test_no_configs_give_no_results():
    assert run_all([], Stuck(), progress=False) == []
