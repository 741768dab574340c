"""A process for each worker of a contestant: one thread, one core, idle unless asked."""

import multiprocessing
import os
import signal
import time
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, NamedTuple
from unittest.mock import patch

from benchmarks.contestants import Entry
from benchmarks.problem import Problem

ONE_THREAD = {f"{name}_THREADS": "1" for name in ("OMP_NUM", "MKL_NUM", "OPENBLAS_NUM", "TORCHINDUCTOR_COMPILE")} | {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
}


class WorkerError(RuntimeError):
    """A contestant raised an error, or its process died; the message names it and holds the traceback."""


class Turn(NamedTuple):
    """One stretch of training in one worker: seconds, start and end on the clock that all processes share."""

    start: float
    end: float
    cpu: float  # processor time; much less than end - start says that something else had the core


class Worker:
    """A contestant in a process of its own, tied to one core; `seed` is that of its randomness."""

    def __init__(self, entry: Entry, problem: Problem, seed: int, core: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._label = entry.label
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, entry, problem, seed, core), daemon=True)
        with patch.dict(os.environ, ONE_THREAD):  # read when a library is imported: before any code of ours runs
            self._process.start()
        other.close()

    def ask(self, method: str, *arguments: Any) -> None:
        """Have the contestant's `advance` or `losses` called."""
        with suppress(BrokenPipeError):  # a process that died is the business of `answer`
            self._connection.send((method, arguments))

    def answer(self) -> Any:
        """Wait for the oldest result: a `Turn` after "advance", an array after "losses"."""
        try:
            error, value = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            error = f"its process died with exit code {self._process.exitcode}"
        if error:
            raise WorkerError(f"{self._label}: {error}")
        return value

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()


def serve(connection: Connection, entry: Entry, problem: Problem, seed: int, core: int) -> None:
    """Make the contestant, and answer what comes through `connection` until it closes. Runs in the worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends the workers
    for task in os.listdir("/proc/self/task"):  # threads made from here on stay on the core of the one that makes them
        os.sched_setaffinity(int(task), {core})
    try:
        contestant = entry.make(problem, seed)
        while True:
            method, arguments = connection.recv()
            start, cpu = time.perf_counter(), time.process_time()
            found = getattr(contestant, method)(*arguments)
            turn = Turn(start, time.perf_counter(), time.process_time() - cpu)
            connection.send(("", turn if method == "advance" else found))
    except EOFError:
        return
    except Exception:
        connection.send((traceback.format_exc(), None))
