"""What has to hold before a device is measured: it computes the CPU's numbers, and all train on the same loss."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks import contest
from benchmarks.ours import model_of
from benchmarks.problem import Problem
from benchmarks.torch_steps import PlainVAE
from condkl.objectives import full, modified
from condkl_studies.batched import Program, Run, windows
from condkl_studies.data import binarise
from condkl_studies.evaluation import iwae_log_likelihood
from condkl_studies.randomness import seeded
from condkl_studies.schedules import TrainingConfig
from condkl_studies.state import State
from condkl_studies.training import windows as alone

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}  # of rounding, relative to the terms
_DRAWS = 20  # of a loss and of a log-likelihood


class DeviceError(RuntimeError):
    """The device computes other numbers than the CPU."""


def deviations(images: Tensor, problem: Problem, compiled: bool) -> dict[str, float]:
    """The largest relative deviations of the terms of the ELBO over a few steps; a DeviceError if one is too large.

    Of the images' device from the CPU at the same draws, in float64 and, as it is measured, in float32; and, on the
    device in float64, of models in one program from each alone. Then how far its bits are from the grey levels.
    """
    plan = TrainingConfig(4, problem.batch_size, problem.learning_rate, every=2)
    few, device, found = images[: 10 * plan.batch_size], images.device, {}
    for dtype, tolerance in TOLERANCES.items():
        on_cpu, on_device = (_runs(problem, dtype, place) for place in (torch.device("cpu"), device))
        for runs, faster in ((on_cpu, False), (on_device, compiled and dtype == torch.float32)):
            program = Program(runs, plan, faster)
            for _ in range(plan.steps // plan.every):
                program.advance(few.cpu())
        found[f"from the CPU, {dtype}"] = _largest(on_device, on_cpu, tolerance)
    together, each = (_runs(problem, torch.float64, device) for _ in range(2))
    list(windows(together, few, plan))
    for state, followed, seed in each:
        list(alone(state, followed, few, plan, seed))
    found[f"from each alone, {torch.float64}"] = _largest(together, each, TOLERANCES[torch.float64])
    return found | {"of bits, in standard errors": _of_bits(few)}


def losses(device: torch.device, problem: Problem, samples: int) -> pd.DataFrame:
    """Loss and log-likelihood of ours and of plain PyTorch at the same weights; an UnfairError if two differ.

    Means over some draws with their standard errors, in nats an image, as `contest.compare_losses` gives them.
    """
    model, plain, draws = model_of(problem).to(device), PlainVAE(problem).to(device), seeded(0, device)
    x = torch.from_numpy(problem.batch).float().to(device)
    torch.manual_seed(1)  # other draws than ours
    with torch.no_grad():
        values = {
            ("loss", "condkl"): [-full(model, x, draws).elbo.mean() for _ in range(_DRAWS)],
            ("loss", "plain PyTorch"): [plain(x) for _ in range(_DRAWS)],
            ("likelihood", "condkl"): [iwae_log_likelihood(model, x[:1], samples, draws) for _ in range(_DRAWS)],
            ("likelihood", "plain PyTorch"): [plain.log_likelihood(x[0], samples) for _ in range(_DRAWS)],
        }
    rows = {f"{kind}, {who}": _mean(of_draws) for (kind, who), of_draws in values.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["loss", "standard_error"])
    for kind in ("loss", "likelihood"):
        contest.check_losses(table[table.index.str.startswith(kind)])
    return table


def _mean(values: Iterable[Tensor]) -> tuple[float, float]:
    """The mean and its standard error."""
    array = np.array([float(value) for value in values])
    return float(array.mean()), float(array.std(ddof=1) / len(array) ** 0.5)


def _runs(problem: Problem, dtype: torch.dtype, device: torch.device) -> list[Run]:
    return [
        Run(State.start(model_of(problem).to(device, dtype)), followed, seed)
        for seed, followed in enumerate((full, modified))
    ]


def _largest(found: Sequence[Run], want: Sequence[Run], tolerance: float) -> float:
    one, other = (pd.DataFrame([row for run in runs for row in run.state.rows]) for runs in (found, want))
    largest = float(((one - other).abs() / other.abs().clip(lower=1)).to_numpy().max())
    if not largest <= tolerance:  # so that NaN fails too
        device = found[0].state.first[0].device
        raise DeviceError(
            f"{device}: a term of the ELBO is off by {largest:.1e} of itself, allowed is {tolerance:.0e}. Its speed "
            "says nothing. Update the driver and PyTorch, or try --no-compiled."
        )
    return largest


def _of_bits(images: Tensor) -> float:
    grey, drawn = images.double() / 255, binarise(images, seeded(0, images.device), torch.float64)
    off = float((drawn - grey).sum() / (grey * (1 - grey)).sum().sqrt())
    if not abs(off) <= contest.STANDARD_ERRORS:
        raise DeviceError(f"{images.device}: the mean of its bits is {off:.1f} standard errors from that of the pixels")
    return off
