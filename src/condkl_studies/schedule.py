"""Runs side by side on any executor, and the progress that people see meanwhile."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from condkl_studies import store
from condkl_studies.cache import Cache
from condkl_studies.config import RunConfig
from condkl_studies.engine import RunFailedError, fit_run
from condkl_studies.store import RunResult

_LOOK_SECONDS = 1.0  # between two looks at the states of the runs in progress


class WorkersError(RuntimeError):
    """The workers asked for cannot be used."""


@dataclass
class Outcome:
    """What came of a study: the runs recorded now, and the message of each that met a loss that is not finite."""

    recorded: list[RunConfig] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def run_all(configs: Iterable[RunConfig], executor: Executor, progress: bool = True) -> list[RunResult]:
    """Train every config on `executor`, without records, and return the results in the order of the configs.

    Only configs and tables travel between processes; each worker reads the data itself. The first error of a run is
    raised, and cancels the runs not yet started.
    """
    futures = [executor.submit(fit_run, config) for config in configs]
    try:
        for future in tqdm(as_completed(futures), total=len(futures), desc="runs", disable=not progress):
            future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [future.result() for future in futures]


def run_study(
    name: str,
    configs: Sequence[RunConfig],
    executor: Executor,
    cache: Path,
    compiled: bool = False,
    progress: bool = True,
    train: Callable[..., RunResult] = fit_run,
) -> Outcome:
    """Train the runs of a study that have no record, on `executor`, and record each as it ends.

    A run that meets a loss that is not finite is reported in the outcome, and the others go on. A broken record is a
    RecordError, before anything is trained. The states of runs lie in `cache`; workers on other machines use a folder
    of that name there.
    """
    there = store.recorded(name, configs)
    store.read_study(name, there)  # a broken record is not to be built upon
    missing = [config for config in configs if config not in there]
    total, begun = sum(config.steps for config in missing), sum(_state(config, cache)[0] for config in missing)
    outcome = Outcome()
    futures = [executor.submit(partial(train, config, cache, compiled)) for config in missing]
    try:
        with tqdm(total=total, initial=begun, desc=name, unit="step", unit_scale=True, disable=not progress) as bar:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        result = future.result()
                    except RunFailedError as error:
                        outcome.failed.append(str(error))
                        continue
                    store.write(name, result)
                    Cache(cache / result.config.id).clear()
                    outcome.recorded.append(result.config)
                _show(bar, missing, outcome, cache)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return outcome


@contextmanager
def local_processes(workers: int) -> Iterator[Executor]:
    """A pool of processes on this machine that dies at once when its user is interrupted or dies."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_die_at_once)
    try:
        yield pool
    except BaseException:
        # States are written whole, so a worker may die at any step; waiting for it would take minutes.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def dask_workers(scheduler: str) -> Iterator[Executor]:
    """The workers of the Dask cluster whose scheduler is at `tcp://host:port`; an interrupt does not stop them.

    A WorkersError says that the package `distributed` is missing, or that a worker has several threads. Runs in threads
    of one process would draw their initial weights from one stream, and not repeat.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise WorkersError('distributed: not installed. Run `pip install -e ".[cluster]"`.') from error
    with Client(scheduler) as client:
        if wide := {name: threads for name, threads in client.nthreads().items() if threads != 1}:
            raise WorkersError(f"workers: expected one thread each, got {wide}. Use `dask worker --nthreads 1`.")
        yield client.get_executor()


def _die_at_once() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose pool was killed would train on, in the way of whoever goes on with its run, and then wait."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _show(bar: "tqdm[Any]", configs: Sequence[RunConfig], outcome: Outcome, cache: Path) -> None:
    """Steps done, from the states that the workers leave; tqdm adds steps per second and the time that remains."""
    states = {config: _state(config, cache) for config in configs if config not in outcome.recorded}
    steps = sum(config.steps for config in outcome.recorded) + sum(step for step, _ in states.values())
    bar.update(max(0, steps - bar.n))
    running = [f"{elbo:.2f}" for config, (step, elbo) in states.items() if 0 < step < config.steps and elbo is not None]
    bar.set_postfix_str(f"{len(outcome.recorded)}/{len(configs)} runs, ELBO {' '.join(running[:4]) or '-'}")


def _state(config: RunConfig, cache: Path) -> tuple[int, float | None]:
    said = Cache(cache / config.id).peek()
    return (said["step"], said["rows"][-1]["elbo"]) if said else (0, None)
