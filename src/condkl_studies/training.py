"""The training loop: windows of steps whose randomness depends on the seed and the window alone.

Before a window, its batches are binarised and its noise drawn at once. A step then is one function of tensors (loss,
gradient, Adam), which `torch.compile` can take whole and which never makes the host wait. After the window the
record is read. A state between two windows is all that a later process needs to go on to the last bit.
"""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from condkl._checks import at_least_zero
from condkl.objectives import Objective
from condkl.vae import HierarchicalVAE
from condkl_studies import batches, products, steps
from condkl_studies.following import Following
from condkl_studies.models import Trainable
from condkl_studies.products import Calls
from condkl_studies.randomness import ASIDE, NOISE, stream
from condkl_studies.schedules import TrainingConfig
from condkl_studies.state import State, description
from condkl_studies.steps import Step


class NonFiniteLossError(RuntimeError):
    """Training met NaN or infinity; `step` and `term` say where, and `model` in which of several, if there are."""

    def __init__(self, step: int, term: str, value: float, model: int | None = None) -> None:
        super().__init__(step, term, value, model)  # the arguments, so that the error travels between processes
        self.step, self.term, self.value, self.model = step, term, value, model

    def __str__(self) -> str:
        which = "" if self.model is None else f"model {self.model}, "
        return (
            f"{which}step {self.step}: the term {self.term} became {self.value}. The weights after that step are not "
            "to be used. Lower the learning rate, or look for pixels outside [0, 1]."
        )


@dataclass(frozen=True)
class Fit:
    """A trained model with its record, `history`: one row per window.

    A row has `step`, its last, and the means over its batches, in nats, of `elbo`, `R`, `A`, `C` (summed over layers)
    and, with more than two layers, `C1`, `C2`, … from the top. With `gradient_batches` also what pulls on theta, as
    `gradient_record` gives it, and with `noise_batches` `elbo_least`, that of the worst batch, and what `noise_record`
    gives.
    """

    model: HierarchicalVAE
    history: pd.DataFrame


def fit(
    model: HierarchicalVAE,
    objective: Objective,
    images: Tensor,
    plan: TrainingConfig,
    seed: int,
    progress: bool = True,
    checkpoint: Path | None = None,
) -> Fit:
    """Train `model` in place as `windows` does, with a progress bar, and return it with its record.

    After each window the state is saved in the file `checkpoint`, if one is given. If it is there already, training
    goes on from it, to the same numbers as without the stop: the same call again resumes what was interrupted. A
    ValueError says that the file is of another plan, seed, objective or set of images, a StateError that it is broken
    or of another model.
    """
    if isinstance(objective, str):
        raise TypeError(
            f"objective: expected an Objective, got {objective!r}. `condkl.objectives.objective` names them."
        )
    seed = at_least_zero("seed", seed)
    of = _identity(objective, images, plan, seed) if checkpoint else None
    state = State.start(model)
    if checkpoint and Path(checkpoint).exists():
        if (saved := description(checkpoint).get("of")) != of:
            raise ValueError(
                f"checkpoint: expected a state of {of}, got one of {saved}. Choose another file, delete this one, or "
                "go on from `State.load` with `windows`."
            )
        state = State.load(checkpoint, model)
    with tqdm(total=plan.steps, initial=state.step, desc="training", disable=not progress, unit="step") as bar:
        for _ in windows(state, objective, images, plan, seed):
            if checkpoint:
                state.save(checkpoint, of=of)
            bar.update(state.step - bar.n)
            bar.set_postfix(elbo=f"{state.rows[-1]['elbo']:.1f}")
    return Fit(model, pd.DataFrame(state.rows))


def _identity(objective: Objective, images: Tensor, plan: TrainingConfig, seed: int) -> dict[str, Any]:
    """What a state is of; an objective without a text of its own is known by its class."""
    return {
        "plan": asdict(plan),
        "seed": seed,
        "objective": repr(objective) if is_dataclass(objective) else type(objective).__qualname__,
        "images": hashlib.sha256(images.cpu().contiguous().numpy().data).hexdigest()[:16],
    }


def windows(
    state: State,
    followed: Objective | Trainable,
    images: Tensor,
    plan: TrainingConfig,
    seed: int,
    compiled: bool = False,
    calls: Calls | None = None,
) -> Iterator[State]:
    """Train `state.model` in place by Adam on freshly binarised batches; yield the state after each window.

    The model is on any device, and the images, grey levels as bytes, shape (n, pixels), follow it there. `seed` is that
    of their order, their binarisation and the latents. Parameters that require no gradient stay as they are. A term of
    the ELBO that is not finite is a NonFiniteLossError.

    Args:
        followed: what the model follows: an objective, if it is a `HierarchicalVAE`.
        compiled: whether `torch.compile` makes one function of the step. It needs a C++ compiler or CUDA, changes
            the rounding, and forgets what else this process compiled.
        calls: how a compiled step on the CPU multiplies; None for `fastest_calls`.
    """
    batches.check_enough(images, plan.batch_size)
    images = images.to(state.first[0].device)
    rule = followed if isinstance(followed, Trainable) else Following(followed, plan.phi_rate)
    calls = calls or fastest_calls(rule, state.model, images)
    if rows := compiled and calls.rows:
        steps.turn(state.model, rule.turned(state.model), [state.first, state.second])
    step = steps.step_of(state.model, state.first, state.second, rule)
    if compiled:
        step = steps.compiled(step, images.device, calls.onednn)
    while state.step < plan.steps:
        log, last = _window(state, step, rule, images, plan, seed, rows)
        add_row(state, rule, plan, log, last, seed)
        yield state


def fastest_calls(rule: Trainable, model: nn.Module, images: Tensor) -> Calls:
    """What `products.calls` says of these images, where the model leaves x to it."""
    best = products.calls(images, next(model.parameters()).dtype)
    return best if rule.turned(model) else replace(best, rows=False)


def add_row(
    state: State,
    rule: Trainable,
    plan: TrainingConfig,
    log: Tensor,
    last: Iterable[Tensor],
    seed: int,
    model: int | None = None,
) -> None:
    """Add the window that ends at `state.step` to the record; a NonFiniteLossError of `model` if a term is not finite.

    `log` is what the steps wrote, shape (steps, columns), float64 on the CPU; `last` are the bits of the last
    `plan.kept` batches.
    """
    _stop_at_non_finite(log, rule.columns(state.model), state.step - len(log), model)
    row = {"step": state.step, **rule.row(state.model, log.mean(0))}
    device, each = state.first[0].device, [x.to(state.first[0].dtype) for x in last]
    if plan.gradient_batches:
        x = torch.cat(each[-plan.gradient_batches :])
        row |= rule.pulls(state.model, x, stream(seed, ASIDE, state.step, device))
    if plan.noise_batches:
        row |= {"elbo_least": float(log[:, 0].min())}
        if len(each) > 1:  # the last window may be shorter
            some = each[-plan.noise_batches :]
            row |= rule.noise(state.model, some, stream(seed, NOISE, state.step, device))
    state.rows.append(row)


def _window(
    state: State, step: Step, rule: Trainable, images: Tensor, plan: TrainingConfig, seed: int, rows: bool
) -> tuple[Tensor, deque[Tensor]]:
    """Take the steps of one window; returns what they wrote, and the bits of its last batches."""
    model, like, todo = state.model, state.first[0], plan.window(state.step)
    weights = like.new_tensor(rule.weights(todo.start / plan.steps))
    rates, log = steps.adam_rates(plan, todo, like), like.new_zeros(len(todo), len(rule.columns(model)))
    order, generator = batches.source(images, plan.batch_size, todo, seed)
    last: deque[Tensor] = deque(maxlen=plan.kept)
    for (bits, places, drawn), *row in zip(
        batches.drawn(images, order, partial(rule.draws, model), generator, rows), rates, log, strict=True
    ):
        step(bits, places, drawn, weights, *row)
        last.append(bits)
    state.step = todo.stop
    return log.cpu().double(), last


def _stop_at_non_finite(log: Tensor, names: tuple[str, ...], start: int, model: int | None) -> None:
    if bool((bad := ~log.isfinite()).any()):
        i = int(bad.any(1).int().argmax())
        culprit = bad[i].nonzero().flatten().tolist()[:2][-1]  # a term, or only their sum
        raise NonFiniteLossError(start + i + 1, names[culprit], float(log[i, culprit]), model)
