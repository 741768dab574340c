"""The training loop: binarise a batch, ask the objective for the terms, take a fused Adam step, record."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from condkl._checks import at_least_one
from condkl.data import binarise
from condkl.gradients import term_gradients
from condkl.vae import HierarchicalVAE, Terms

Objective = Callable[[HierarchicalVAE, Tensor, torch.Generator], Terms]


class NonFiniteLossError(RuntimeError):
    """Training met NaN or infinity; `step` and `term` say where."""

    def __init__(self, step: int, term: str, value: float) -> None:
        super().__init__(
            f"step {step}: the term {term} became {value}. The weights of that step are not to be used. "
            "Lower the learning rate, or look for pixels outside [0, 1]."
        )
        self.step, self.term = step, term


@dataclass(frozen=True)
class Fit:
    """A trained model with its record.

    Attributes:
        model: the model after the last step.
        history: one row per recorded step: `step` and the means over that batch, in nats, of `elbo`, `R`, `A`,
            `C` (summed over layers) and, with more than two layers, `C1`, `C2`, … from the top. With `gradients`
            also what pulls on theta, as `gradient_record` gives it.
    """

    model: HierarchicalVAE
    history: pd.DataFrame


def fit(
    model: HierarchicalVAE,
    objective: Objective,
    images: Tensor,
    steps: int,
    seed: int,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    every: int = 50,
    gradients: bool = False,
    progress: bool = True,
    label: str = "training",
) -> Fit:
    """Train `model` in place by Adam on freshly binarised batches, and return it with its record.

    Args:
        model: on any device; the batches follow it there.
        objective: what each parameter follows, e.g. `objective.full` or `objective.modified`.
        images: grey levels as bytes, shape (n, pixels).
        steps: how many batches.
        seed: of the order of the images, their binarisation and the latents.
        batch_size: images a batch; the rest of an epoch that does not fill a batch is left out.
        learning_rate: Adam's.
        every: a row of the record every so many steps, and at the first and the last one.
        gradients: whether the record holds the gradients of R, A and C on theta, too. They use noise of their own,
            so that the training is the same with and without.
        progress: whether to show a progress bar.
        label: what the progress bar says.

    Raises:
        NonFiniteLossError: if a term of the ELBO is not finite.
        ValueError: if there are fewer images than `batch_size`, or a count is not above 0.
    """
    for name, count in (("steps", steps), ("batch_size", batch_size), ("every", every)):
        at_least_one(name, count)
    if len(images) < batch_size:
        raise ValueError(f"images: expected at least batch_size={batch_size} images, got {len(images)}.")
    device = next(model.parameters()).device
    images = images.to(device)
    generator = torch.Generator(device).manual_seed(seed)
    aside = torch.Generator(device).manual_seed(seed)
    adam = torch.optim.Adam(model.parameters(), lr=learning_rate, fused=True)
    rows: list[dict[str, float]] = []
    bar = tqdm(range(1, steps + 1), desc=label, disable=not progress, unit="step")
    for step, index in zip(bar, batches(len(images), batch_size, generator), strict=False):
        x = binarise(images[index], generator)
        recorded = step in {1, steps} or step % every == 0
        pulls = gradient_record(model, x, aside) if gradients and recorded else {}
        terms = objective(model, x, generator)
        loss = -terms.elbo.mean()
        if not bool(loss.isfinite()):
            raise NonFiniteLossError(step, *_culprit(terms))
        adam.zero_grad()
        loss.backward()
        adam.step()
        if recorded:
            rows.append({"step": step, **summary(terms), **pulls})
            bar.set_postfix(elbo=f"{rows[-1]['elbo']:.1f}")
    return Fit(model, pd.DataFrame(rows))


def batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Index tensors of shape (batch_size,) for ever: each epoch a new permutation of n images."""
    for _ in itertools.count():
        order = torch.randperm(n, generator=generator, device=generator.device)
        yield from order[: n - n % batch_size].split(batch_size)


def summary(terms: Terms) -> dict[str, float]:
    """Means over the images, in nats: elbo, R, A, C, and C1, C2, … where there are several conditional KLs."""
    C = terms.C.mean(0)
    means: dict[str, Any] = {
        "elbo": terms.elbo.mean(),
        "R": terms.R.mean(),
        "A": terms.A.mean(),
        "C": C.sum(),
    }
    if len(C) > 1:
        means |= {f"C{i}": c for i, c in enumerate(C, 1)}
    return {name: float(value.detach()) for name, value in means.items()}


def gradient_record(model: HierarchicalVAE, x: Tensor, generator: torch.Generator) -> dict[str, float]:
    """What pulls on theta at this batch, x of shape (n, pixels).

    Returns:
        `norm_R`, `norm_A`, `norm_C`: norms of the gradients of the mean terms; `cos_RA`, `cos_RC`, `cos_AC`: cosines
        between them; `gain_modified`: the first-order change of the batch ELBO along theta's direction under eq. (9).
    """
    pulls = term_gradients(model, x, generator)
    norms = {f"norm_{name}": value for name, value in pulls.norms().items()}
    return (
        norms
        | {f"cos_{name}": value for name, value in pulls.cosines().items()}
        | {"gain_modified": pulls.first_order_gain(0.0)}
    )


def _culprit(terms: Terms) -> tuple[str, float]:
    """The name and mean of the first term that is not finite; the ELBO if only their sum is not."""
    columns = {"R": terms.R, "A": terms.A} | {f"C{i}": c for i, c in enumerate(terms.C.unbind(-1), 1)}
    for name, values in columns.items():
        if not bool(values.isfinite().all()):
            return name, float(values.detach()[~values.isfinite()][0])
    return "elbo", float(terms.elbo.detach().mean())
