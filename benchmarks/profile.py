"""Where the time goes: `python -m benchmarks.profile` takes a step apart, and then a run, with two workers."""

import contextlib
import multiprocessing
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.ours import Ours
from benchmarks.problem import Problem, make_problem
from benchmarks.report import record_path
from benchmarks.workers import ONE_THREAD
from condkl_studies import engine, following, training
from condkl_studies.cache import Cache
from condkl_studies.config import PROTOCOL, RunConfig
from condkl_studies.files import data_folder, write_json
from condkl_studies.machine import commit, machine, processor
from condkl_studies.models.hierarchical import Hierarchical
from condkl_studies.plans import EPOCH, LATER

EPOCHS = 6  # of the runs
# The parts of a step, by what the profiler calls their pieces; the first that fits counts.
PARTS = {
    "products": r"linear_pointwise|aten::mm|_mm_out",
    "sums of rows": r"embedding_bag",
    "terms of the pixels": r"softplus",
    "Adam, and what is fused with it": r"cpp_fused.*(lerp|sqrt)",
    "other loops": r"cpp_fused",
    "bits and noise": r"aten::(random_|normal_|randn|index_select|lt|eq|copy_|cat|stack|unbind)",
    "calls": r"",
}


def main() -> int:
    """Measure, print and record; returns the exit status."""
    parts = {
        "step": step_parts(make_problem()),
        "run": run_parts(replace(LATER, steps=EPOCHS * EPOCH, seed=100, likelihood_images=100)),
    }
    for what, values in parts.items():
        print(f"{what}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items()))
    found = {"machine": machine(), "commit": commit(), "protocol": PROTOCOL, "epochs": EPOCHS, **parts}
    path = record_path(data_folder(), processor(), "profile")
    write_json(path, found)
    print(f"recorded in {path}")
    return 0


def step_parts(problem: Problem, compiled: bool = True) -> dict[str, float]:
    """The share of each part in the processor time of a window of our steps, one worker."""
    with _named_kernels() if compiled else contextlib.nullcontext():
        ours = Ours(problem, seed=0, compiled=compiled)
        ours.advance(problem.window)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        ours.advance(problem.window)
    taken = dict.fromkeys(PARTS, 0.0)
    for event in seen.key_averages():
        part = next(name for name, pattern in PARTS.items() if re.search(pattern, event.key))
        taken[part] += event.self_cpu_time_total
    return {name: value / sum(taken.values()) for name, value in taken.items()}


def _named_kernels() -> contextlib.AbstractContextManager[None]:
    """Have the compiler tell the profiler the names of the loops that it makes."""
    import torch._inductor.config as inductor

    return inductor.patch({"cpp.enable_kernel_profile": True})


def run_parts(config: RunConfig) -> dict[str, float]:
    """Seconds of each part of a run, the mean of two that train at once, and `steps_a_second`, of both together."""
    workers = 2
    context = multiprocessing.get_context("spawn")
    with patch.dict("os.environ", ONE_THREAD), ProcessPoolExecutor(workers, context) as executor:
        configs = [replace(config, seed=config.seed + i) for i in range(workers)]
        runs = list(executor.map(_timed_run, configs, [True] * workers))
    mean = {name: sum(run[name] for run in runs) / workers for name in runs[0]}
    # The first window waits for the compiler.
    steps = config.steps - config.every
    return mean | {"steps_a_second": sum(steps / run["steps"] for run in runs)}


def _timed_run(config: RunConfig, compiled: bool) -> dict[str, float]:
    """Seconds of the parts of one run."""
    seconds = dict.fromkeys(("first window", "steps", "gradients of the terms", "validation", "states", "end"), 0.0)
    wrapped = [
        (training, "_window", "steps"),
        (following, "gradient_record", "gradients of the terms"),
        (Hierarchical, "validation", "validation"),
        (Cache, "save", "states"),
        (engine, "_final", "end"),
    ]
    with contextlib.ExitStack() as stack, TemporaryDirectory() as folder:
        for owner, name, part in wrapped:
            function = getattr(owner, name)

            def timed(*given: Any, _function: Any = function, _part: str = part, **named: Any) -> Any:
                first = _part == "steps" and not seconds["first window"]
                with _clock(seconds, "first window" if first else _part):
                    return _function(*given, **named)

            stack.enter_context(patch.object(owner, name, timed))
        engine.fit_run(config, Path(folder), compiled=compiled)
    return seconds


@contextlib.contextmanager
def _clock(seconds: dict[str, float], part: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[part] += time.perf_counter() - start


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
