"""`python -m benchmarks.gpu`: many models in one program, on a GPU if there is one: checked, trained, measured.

First the device's numbers are compared with the CPU's. Then the study `main`, cut to 10 epochs, is trained for the full
gradient and eq. (9), all seeds at once. Then come steps a second of several numbers of models at once and
log-likelihoods a second, beside plain PyTorch on the same device.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import batched_report, gpu_checks
from benchmarks.contest import UnfairError
from benchmarks.ours import model_of
from benchmarks.problem import Problem, flops_per_step, make_problem
from benchmarks.report import made_by, record_path
from benchmarks.torch_steps import Eager, PlainVAE
from condkl.objectives import full, objective
from condkl_studies import plans
from condkl_studies.batched import Run, footprint, windows
from condkl_studies.config import PROTOCOL, RunConfig
from condkl_studies.data import load
from condkl_studies.engine import initial_model
from condkl_studies.evaluation import iwae_log_likelihood, mean_terms
from condkl_studies.files import data_folder, write_json
from condkl_studies.following import hierarchical
from condkl_studies.machine import compiler_found
from condkl_studies.randomness import seeded
from condkl_studies.schedules import TrainingConfig
from condkl_studies.state import State

LAPS = 3  # of which the report takes the median
_ENDLESS = 10**9  # steps; who measures stops when it has seen enough
# Float32 operations a second outside tensor cores, by the maker's data sheets.
DATA_SHEETS = {"NVIDIA H200": 67e12, "NVIDIA H100 80GB HBM3": 67e12, "NVIDIA H100 PCIe": 51e12, "NVIDIA A100-": 19.5e12}


@dataclass(frozen=True)
class Size:
    """How much is measured; each field is an option of the command line."""

    seeds: int  # of `main`, all at once
    steps: int  # of each of its runs
    every: int  # in a window
    test: int  # images on which the trained runs are evaluated
    models: tuple[int, ...]  # at once
    samples: int  # K, draws of the latents for a log-likelihood
    images: int  # in a lap of log-likelihoods
    seconds: float  # the least length of a lap
    square: int  # rows of the matrices by which the peak is measured


SIZES = {
    "cuda": Size(5, 10 * plans.EPOCH, plans.EPOCH, 10_000, (1, 8, 64), 5000, 100, 3.0, 8192),
    "cpu": Size(2, 4, 2, 500, (1, 2), 100, 2, 0.1, 256),  # to see that it works
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status: 1 if the device computes other numbers."""
    options, size = _options(arguments)
    device = torch.device(options.device)
    try:
        found = run(device, size, options.compiled)
    except (gpu_checks.DeviceError, UnfairError) as error:
        print(error, file=sys.stderr)
        return 1
    here = found["machine"]
    name = f"{here['processor']} cpu" if here["device"] == "cpu" else here["device"]
    path = options.output or record_path(data_folder(), name, batched_report.KIND)
    write_json(path, found)
    print(f"recorded in {path}")
    return 0


def run(device: torch.device, size: Size, compiled: bool) -> dict[str, Any]:
    """Check, train, measure and print; returns the record."""
    torch.set_num_threads(1)
    start, started = time.perf_counter(), datetime.now(UTC).isoformat(timespec="seconds")
    problem = make_problem(window=size.every)
    images = torch.from_numpy(problem.images).to(device)
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    memory = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 1 << 30

    def said(what: str, value: Any) -> Any:
        print(f"[{time.perf_counter() - start:5.0f} s] {what}:\n{value}", flush=True)
        return value

    deviations = said("largest relative deviations", gpu_checks.deviations(images, problem, compiled))
    losses = said("loss and log-likelihood at the same weights", gpu_checks.losses(device, problem, size.samples))
    trained = [train_main(device, size, skip, compiled, memory) for skip in plans.DECODERS]
    peak = measure_peak(device, size)
    speed = [
        said("models at once, steps/s of all", measure_steps(n, images, problem, size, compiled, memory))
        for n in size.models
    ]
    found = {
        "started": started,
        **made_by(card, ("condkl", "torch", "numpy", "triton")),
        "problem": {"batch_size": problem.batch_size, "flops_per_step": flops_per_step(problem)},
        "settings": asdict(size)
        | {"compiled": compiled, "memory": memory, "float32_products": torch.get_float32_matmul_precision()},
        "deviations": deviations,
        "losses": losses.to_dict("index"),
        "main": trained,
        "peak": {"measured": peak, "data_sheet": next((v for k, v in DATA_SHEETS.items() if k in card), None)},
        "speed": speed,
        "likelihoods": measure_likelihoods(device, problem, size, compiled),
        "plain": measure_plain(device, problem, size),
    }
    for table in (batched_report.training, batched_report.speeds, batched_report.likelihoods):
        said(table.__name__, table(found).to_string(float_format="{:.3g}".format))
    return found | {"seconds": round(time.perf_counter() - start, 1)}


# --- Training -----------------------------------------------------------------------------------------------------


def main_configs(size: Size, skip: bool) -> list[RunConfig]:
    """The runs of `main` with two layers and one decoder, for the full gradient and eq. (9), cut to this size."""
    return [
        replace(config, steps=size.steps, every=size.every, gradient_batches=min(config.gradient_batches, size.every),
                protocol=PROTOCOL)
        for config in plans.study("main").configs
        if config.objective in ("full", "modified") and len(config.latents) == 2 and config.skip == skip
        and config.seed < size.seeds
    ]  # fmt: skip


def train_main(device: torch.device, size: Size, skip: bool, compiled: bool, memory: int) -> dict[str, Any]:
    """Train them in one program; returns what they came to on test images, and how long it took."""
    configs = main_configs(size, skip)
    start = time.perf_counter()
    runs = [
        Run(State.start(initial_model(config, str(device))), objective(config.objective), config.seed)
        for config in configs
    ]
    ends = []
    for _ in windows(runs, load(configs[0].data, "train"), configs[0].training(), compiled, memory):
        ends.append(time.perf_counter() - start)
    test = load(configs[0].data, "test")[: size.test]
    found = [
        {"objective": config.objective, "seed": config.seed, "decoder": config.decoder}
        | mean_terms(hierarchical(run.state.model), test, 0)
        for config, run in zip(configs, runs, strict=True)
    ]
    print(f"trained {len(runs)} runs of {configs[0].decoder} in {ends[-1]:.1f} s, {ends[0]:.1f} s to the first window")
    return {"decoder": configs[0].decoder, "seconds": ends[-1], "first_window": ends[0], "runs": found}


# --- Speed --------------------------------------------------------------------------------------------------------


def laps(advance: Callable[[], int], seconds: float, device: torch.device) -> list[float]:
    """Rates of some laps, after one call to warm up: `advance` works on the device, and says how much it did."""
    advance()
    rates = []
    for _ in range(LAPS):
        _wait(device)
        start, done = time.perf_counter(), 0
        while (taken := time.perf_counter() - start) < seconds or not done:
            done += advance()
            _wait(device)
        rates.append(done / taken)
    return rates


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_peak(device: torch.device, size: Size) -> float:
    """Float32 operations a second in large square products, the best lap."""
    a, b = (torch.randn(size.square, size.square, device=device) for _ in range(2))

    def multiply() -> int:
        torch.mm(a, b)
        return 2 * size.square**3

    return max(laps(multiply, size.seconds, device))


def measure_steps(
    models: int, images: Tensor, problem: Problem, size: Size, compiled: bool, memory: int
) -> dict[str, Any]:
    """Steps a second, all models together; those that do not fit into the memory at once take no part."""
    device = images.device
    plan = TrainingConfig(_ENDLESS, problem.batch_size, problem.learning_rate, every=size.every)
    runs = [Run(State.start(model_of(problem).to(device)), full, seed) for seed in range(models)]
    going = windows(runs, images, plan, compiled, memory)
    rates = laps(lambda: len(next(going)) * plan.every, size.seconds, device)
    fitting = max(1, memory // footprint(hierarchical(runs[0].state.model), plan))
    return {"models": min(models, fitting), "steps": rates}


def measure_likelihoods(device: torch.device, problem: Problem, size: Size, compiled: bool) -> list[float]:
    """Images a second whose log-likelihood is estimated by `size.samples` draws of the latents."""
    model, draws, x = model_of(problem).to(device), seeded(0, device), _bits(device, problem, size)

    def estimate() -> int:
        iwae_log_likelihood(model, x, size.samples, draws, compiled=compiled)
        return len(x)

    return laps(estimate, size.seconds, device)


def measure_plain(device: torch.device, problem: Problem, size: Size) -> dict[str, list[float]]:
    """The same in plain PyTorch, one model after the other: steps a second, and images a second."""
    trained, model, x = Eager(problem, 0, device), PlainVAE(problem).to(device), _bits(device, problem, size)

    def steps() -> int:
        trained.advance(size.every)
        return size.every

    def estimate() -> int:
        for image in x:
            model.log_likelihood(image, size.samples)
        return len(x)

    return {"steps": laps(steps, size.seconds, device), "likelihoods": laps(estimate, size.seconds, device)}


def _bits(device: torch.device, problem: Problem, size: Size) -> Tensor:
    return torch.from_numpy(np.resize(problem.batch, (size.images, problem.batch.shape[1]))).float().to(device)


def _options(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, Size]:
    parser = argparse.ArgumentParser("python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="auto: cuda where it is")
    parser.add_argument(
        "--compiled",
        action=argparse.BooleanOptionalAction,
        help="whether torch.compile makes the steps; by default on a GPU",
    )
    parser.add_argument("--output", type=Path, help="the record; else in data/bench/")
    for field in fields(Size):
        small, large = (getattr(SIZES[device], field.name) for device in ("cpu", "cuda"))
        kind, nargs = (int, "+") if isinstance(small, tuple) else (type(small), None)
        parser.add_argument(f"--{field.name}", type=kind, nargs=nargs, help=f"default {large}, on a CPU {small}")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("argument --device: PyTorch finds no CUDA here. Install a CUDA build, or pass --device cpu.")
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.compiled is None:
        options.compiled = options.device == "cuda"
    if options.compiled and not compiler_found():
        parser.error("argument --compiled: torch.compile needs a C++ compiler. Install one, or pass --no-compiled.")
    given = {field.name: value for field in fields(Size) if (value := getattr(options, field.name)) is not None}
    if any(number <= 0 for value in given.values() for number in np.atleast_1d(value)):
        parser.error(f"sizes: expected numbers above 0, got {given}")
    size = replace(SIZES[options.device], **given)
    return options, replace(size, models=tuple(size.models))


if __name__ == "__main__":
    sys.exit(main())
