"""The training loop: windows of steps whose randomness depends on the seed and the window alone.

Before a window, its batches are binarised and its noise drawn at once. A step then is one function of tensors (loss,
gradient, Adam), which `torch.compile` can take whole and which never makes the host wait. After the window the
record is read. A state between two windows is all that a later process needs to go on to the last bit.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from condkl.gradients import term_gradients
from condkl.objectives import Objective
from condkl.vae import HierarchicalVAE, Terms
from condkl_studies.data import binarise
from condkl_studies.randomness import stream
from condkl_studies.schedules import TrainingConfig

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # Adam's, as Kingma & Ba (2015) propose them
_ORDER, _WINDOW, _ASIDE = range(3)  # what a stream of randomness is for


class NonFiniteLossError(RuntimeError):
    """Training met NaN or infinity; `step` and `term` say where."""

    def __init__(self, step: int, term: str, value: float) -> None:
        super().__init__(step, term, value)  # the arguments, so that the error travels between processes
        self.step, self.term, self.value = step, term, value

    def __str__(self) -> str:
        return (
            f"step {self.step}: the term {self.term} became {self.value}. The weights after that step are not to be "
            "used. Lower the learning rate, or look for pixels outside [0, 1]."
        )


@dataclass
class State:
    """Training between two windows: the model, its step, Adam's moments of each parameter, and the record so far."""

    model: HierarchicalVAE
    step: int
    first: list[Tensor]
    second: list[Tensor]
    rows: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def start(cls, model: HierarchicalVAE) -> "State":
        """No step done."""
        first, second = ([torch.zeros_like(p) for p in model.parameters()] for _ in range(2))
        return cls(model, 0, first, second)


@dataclass(frozen=True)
class Fit:
    """A trained model with its record, `history`: one row per window.

    A row has `step`, its last, and the means over its batches, in nats, of `elbo`, `R`, `A`, `C` (summed over layers)
    and, with more than two layers, `C1`, `C2`, … from the top. With `gradient_batches` also what pulls on theta, as
    `gradient_record` gives it.
    """

    model: HierarchicalVAE
    history: pd.DataFrame


def fit(
    model: HierarchicalVAE, objective: Objective, images: Tensor, plan: TrainingConfig, seed: int, progress: bool = True
) -> Fit:
    """Train `model` in place as `windows` does, with a progress bar, and return it with its record."""
    state = State.start(model)
    with tqdm(total=plan.steps, desc="training", disable=not progress, unit="step") as bar:
        for _ in windows(state, objective, images, plan, seed):
            bar.update(state.step - bar.n)
            bar.set_postfix(elbo=f"{state.rows[-1]['elbo']:.1f}")
    return Fit(model, pd.DataFrame(state.rows))


def windows(
    state: State,
    objective: Objective,
    images: Tensor,
    plan: TrainingConfig,
    seed: int,
    compiled: bool = False,
    vectors: int | None = None,
) -> Iterator[State]:
    """Train `state.model` in place by Adam on freshly binarised batches; yield the state after each window.

    The model is on any device, and the images, grey levels as bytes, shape (n, pixels), follow it there. `seed` is that
    of their order, their binarisation and the latents. A term of the ELBO that is not finite is a NonFiniteLossError.

    Args:
        compiled: whether `torch.compile` makes one function of the step. It needs a C++ compiler or CUDA, changes
            the rounding, and forgets what else this process compiled.
        vectors: of how many bits the vectors of a compiled step are, where a processor has AVX: 256 on every one, or
            512 on some. None takes the widest. Sums over other vectors round otherwise.
    """
    if len(images) < plan.batch_size:
        raise ValueError(f"images: expected at least batch_size={plan.batch_size} images, got {len(images)}.")
    images = images.to(state.first[0].device)
    step = _step(state, objective, plan.phi_rate)
    if compiled:
        step = _compiled(step, images.device, vectors)
    while state.step < plan.steps:
        row, bits = _window(state, step, objective, images, plan, seed)
        if plan.gradient_batches:
            x = bits[-plan.gradient_batches :].flatten(0, 1).to(state.first[0].dtype)
            row |= gradient_record(state.model, x, stream(seed, _ASIDE, state.step, images.device))
        state.rows.append(row)
        yield state


def batch_order(n: int, batch_size: int, steps: range, seed: int) -> Tensor:
    """Which of n images are in the batches of those steps, shape (len(steps), batch_size): a new order every epoch."""
    per_epoch = n // batch_size
    orders = {
        epoch: torch.randperm(n, generator=stream(seed, _ORDER, epoch))[: per_epoch * batch_size].view(per_epoch, -1)
        for epoch in range(steps.start // per_epoch, (steps.stop - 1) // per_epoch + 1)
    }
    return torch.stack([orders[step // per_epoch][step % per_epoch] for step in steps])


def summary(terms: Terms) -> dict[str, float]:
    """Means over the images, in nats: elbo, R, A, C, and C1, C2, … where there are several conditional KLs."""
    return _named(_columns(terms))


def gradient_record(model: HierarchicalVAE, x: Tensor, generator: torch.Generator) -> dict[str, float]:
    """What pulls on theta at this batch, x of shape (n, pixels).

    The norms `norm_R`, … of the gradients of the mean terms, the cosines `cos_RA`, … between them, and `gain_modified`,
    the first-order change of the batch ELBO along theta's direction under eq. (9).
    """
    pulls = term_gradients(model, x, generator)
    norms = {f"norm_{name}": value for name, value in pulls.norms().items()}
    cosines = {f"cos_{name}": value for name, value in pulls.cosines().items()}
    return norms | cosines | {"gain_modified": pulls.first_order_gain(0.0)}


def _window(
    state: State, step: Callable[..., None], objective: Objective, images: Tensor, plan: TrainingConfig, seed: int
) -> tuple[dict[str, float], Tensor]:
    """Take the steps of one window; returns its row of the record and its batches of bits."""
    device, model = images.device, state.model
    todo = range(state.step, min(state.step + plan.every, plan.steps))
    generator = stream(seed, _WINDOW, todo.start, device)
    order = batch_order(len(images), plan.batch_size, todo, seed).to(device)
    bits = binarise(images[order], generator, dtype=torch.uint8)
    shape = (len(todo), plan.batch_size)
    dtype = state.first[0].dtype
    noise = [torch.randn(*shape, n, generator=generator, device=device, dtype=dtype) for n in model.latents]
    weight = torch.tensor(objective.weight(todo.start / plan.steps), dtype=dtype, device=device)
    # Adam's step size with the correction of the first moment, and the correction of the second one's root.
    pairs = [(plan.rate(n / plan.steps) / (1 - _BETA1 ** (n + 1)), 1 / math.sqrt(1 - _BETA2 ** (n + 1))) for n in todo]
    rates = torch.tensor(pairs, dtype=dtype, device=device)
    log = torch.zeros(len(todo), 2 + len(model.latents), dtype=dtype, device=device)
    for i in range(len(todo)):
        step(bits[i], [e[i] for e in noise], weight, rates[i], log[i])
    state.step = todo.stop
    log = log.cpu().double()
    _stop_at_non_finite(log, todo.start)
    return {"step": state.step, **_named(log.mean(0))}, bits


def _step(state: State, objective: Objective, phi_rate: float) -> Callable[..., None]:
    """One step: the gradient of the negative ELBO, and Adam in place on the weights and moments."""
    model, weights = state.model, list(state.model.parameters())
    phi = {id(p) for p in model.phi()}
    multiples = [phi_rate if id(p) in phi else 1.0 for p in weights]

    def step(bits: Tensor, noise: list[Tensor], weight: Tensor, rates: Tensor, row: Tensor) -> None:
        terms = objective(model, bits.to(rates.dtype), noise=noise, weight=weight)
        gradients = torch.autograd.grad(-terms.elbo.mean(), weights, allow_unused=True, materialize_grads=True)
        with torch.no_grad():
            row.copy_(_columns(terms))
            for p, g, m, v, multiple in zip(weights, gradients, state.first, state.second, multiples, strict=True):
                m.lerp_(g, 1 - _BETA1)
                v.mul_(_BETA2).addcmul_(g, g, value=1 - _BETA2)
                p.sub_(multiple * rates[0] * m / (v.sqrt() * rates[1] + _EPS))

    return step


def _compiled(step: Callable[..., None], device: torch.device, vectors: int | None) -> Callable[..., None]:
    """The step as one function of generated code."""
    # Checking at each call what the step was compiled for costs 6 % of it. Nothing of that changes between the calls;
    # but what is compiled later in this process must not meet it, hence the reset.
    torch.compiler.reset()
    torch._dynamo.config.trace_autograd_ops = True
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    if device.type == "cpu":
        options["cpp_wrapper"] = True  # C++ calls the products one after the other, in place of Python
    if vectors and torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        options["cpp.simdlen"] = vectors
    return torch.compile(step, fullgraph=True, dynamic=False, options=options)


def _columns(terms: Terms) -> Tensor:
    """Means over the images of elbo, R, A and each C_l, shape (2 + L,)."""
    return torch.cat([torch.stack([terms.elbo, terms.R, terms.A]).mean(-1), terms.C.mean(0)])


def _named(columns: Tensor) -> dict[str, float]:
    elbo, R, A, *C = columns.detach().tolist()
    means = {"elbo": elbo, "R": R, "A": A, "C": math.fsum(C)}
    return means | ({f"C{i}": c for i, c in enumerate(C, 1)} if len(C) > 1 else {})


def _stop_at_non_finite(log: Tensor, start: int) -> None:
    if bool((bad := ~log.isfinite()).any()):
        i = int(bad.any(1).int().argmax())
        names = ["elbo", "R", "A", *(f"C{k}" for k in range(1, log.shape[1] - 2))]
        culprit = bad[i].nonzero().flatten().tolist()[:2][-1]  # a term, or only their sum
        raise NonFiniteLossError(start + i + 1, names[culprit], float(log[i, culprit]))
